//! A request's head as it passes: whether it says in two ways how long the body is, which the library resolves without a word.

/// The longest name that is looked for.
const NAME_MAX: usize = TRANSFER_ENCODING.len();
const CONTENT_LENGTH: &[u8] = b"content-length";
const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";

/// What has been seen of a head.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The present line up to its first colon, in small letters; no more than tells names apart.
    name: Vec<u8>,
    /// True behind a line's first colon.
    is_named: bool,
    /// True once a line was not empty.
    has_begun: bool,
    has_ended: bool,
    has_length: bool,
    has_encoding: bool,
}

impl Head {
    /// Looks at what comes next.
    pub(super) fn passes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.has_ended {
                return;
            }
            match byte {
                b'\r' => {}
                b'\n' => self.line_ends(),
                b':' if !self.is_named => {
                    self.is_named = true;
                    self.has_length |= self.name == CONTENT_LENGTH;
                    self.has_encoding |= self.name == TRANSFER_ENCODING;
                }
                _ if !self.is_named && self.name.len() <= NAME_MAX => self.name.push(byte.to_ascii_lowercase()),
                _ => {}
            }
        }
    }

    pub(super) fn has_two_lengths(&self) -> bool {
        self.has_length && self.has_encoding
    }

    fn line_ends(&mut self) {
        let is_empty = self.name.is_empty() && !self.is_named;
        self.has_ended = is_empty && self.has_begun;
        self.has_begun |= !is_empty;
        self.name.clear();
        self.is_named = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_two_lengths(text: &str) -> bool {
        let heads = [text.len(), 1, 7].map(|size| {
            let mut head = Head::default();
            text.as_bytes().chunks(size).for_each(|bytes| head.passes(bytes));
            head.has_two_lengths()
        });
        assert!(heads.iter().all(|found| *found == heads[0]), "it depends on how it is cut: {text:?}");
        heads[0]
    }

    #[test]
    fn two_lengths_are_found_in_any_order_and_case_and_only_in_the_head() {
        assert!(has_two_lengths("POST /x HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"));
        assert!(has_two_lengths("\r\nPOST /x HTTP/1.1\r\ntransfer-ENCODING:chunked\r\nHost: a:1\r\nCONTENT-LENGTH:3\r\n\r\n"));
        for one in [
            "POST /content-length:transfer-encoding: HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
            "POST /x HTTP/1.1\r\nContent-Length: 60\r\n\r\nTransfer-Encoding: chunked\r\n",
            "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 3\r\nA: Content-Length: 3\r\n\r\n",
        ] {
            assert!(!has_two_lengths(one), "{one:?}");
        }
    }
}
