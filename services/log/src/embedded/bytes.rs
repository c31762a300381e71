//! Reading stored bytes: every step says whether the bytes were there, so that damaged rows are refused and never a panic.

/// What has not been read yet.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

/// Length that stands for "none".
pub(super) const NONE: u32 = u32::MAX;

impl<'a> Bytes<'a> {
    /// The next `length` bytes.
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next bytes as an array.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// One byte.
    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// Four bytes, big endian.
    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// Eight bytes, big endian.
    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// Bytes behind their length, or none.
    pub(super) fn optional(&mut self) -> Option<Option<&'a [u8]>> {
        match self.u32()? {
            NONE => Some(None),
            length => self.take(usize::try_from(length).ok()?).map(Some),
        }
    }

    /// Text behind its length.
    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.optional()??).ok()
    }

    /// `value`, if everything was read.
    pub(super) fn done<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// Appends bytes behind their length, or the mark for none.
pub(super) fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => out.extend(NONE.to_be_bytes()),
        Some(bytes) => {
            let length = u32::try_from(bytes.len()).expect("the record limit is far below 4 GiB");
            out.extend(length.to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}
