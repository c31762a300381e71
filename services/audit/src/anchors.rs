//! Signed anchors: a journal's last entry, its chain hash under an Ed25519 signature (RFC 8032), kept where who can write the log
//! cannot. As each chain hash covers all entries before it, a journal that was written again from any of them on does not hold an
//! anchored entry as it was signed, and one whose end was cut off does not hold it at all.
//!
//! A file of anchors has one JSON document in each line. What is signed is [`Anchor::signed_bytes`].

use ed25519_dalek::{Signature, Signer, VerifyingKey};
use orrery_model::codec::hex;
use orrery_model::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Begins what is signed, so that a signature can never be one of something else.
const DOMAIN: &str = "orrery-anchor-v1";

/// One entry of one journal, signed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Prefix of the cluster's topics.
    pub prefix: String,
    /// `trigger` or `allocator`.
    pub service: String,
    /// Shard.
    pub shard: u32,
    /// Lineage of the journal.
    pub lineage: String,
    /// Number of the entry.
    pub seq: i64,
    /// Its chain hash, hex.
    pub chain: String,
    /// Its time.
    pub at: Timestamp,
    /// Public key of who signed, hex.
    pub key: String,
    /// Signature, hex.
    pub signature: String,
}

impl Anchor {
    /// What is signed: the fields but for the signature, one in each line, behind a line that says what it is.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let Self { prefix, service, shard, lineage, seq, chain, at, key, .. } = self;
        format!("{DOMAIN}\n{prefix}\n{service}/{shard}\n{lineage}\n{seq}\n{chain}\n{at}\n{key}\n").into_bytes()
    }

    /// True for an anchor of this journal.
    pub fn is_of(&self, prefix: &str, service: &str, shard: u32) -> bool {
        (self.prefix.as_str(), self.service.as_str(), self.shard) == (prefix, service, shard)
    }

    fn check(&self, trusted: &BTreeSet<PublicKey>) -> Result<(), String> {
        let key = PublicKey::parse(&self.key)?;
        if !trusted.contains(&key) {
            return Err(format!("it is signed with the key {}, which is not trusted", self.key));
        }
        let bytes = bytes_of(&self.signature).ok_or("its signature is not 128 hexadecimal digits")?;
        let is_right = key.0.verify_strict(&self.signed_bytes(), &Signature::from_bytes(&bytes)).is_ok();
        if is_right { Ok(()) } else { Err("its signature is wrong: it was altered, or is not of this key".into()) }
    }
}

/// Reads a file's anchors. All must be signed by a trusted key; the error names the line. A last line without an end was being
/// written when its writer ended: it is no anchor yet.
pub fn read_anchors(text: &str, trusted: &BTreeSet<PublicKey>) -> Result<Vec<Anchor>, String> {
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    let lines = whole.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(i, line): (usize, &str)| {
        let anchor: Anchor = serde_json::from_str(line).map_err(|e| format!("line {} is no anchor: {e}", i + 1))?;
        anchor.check(trusted).map_err(|why| format!("the anchor in line {} does not count: {why}", i + 1))?;
        Ok(anchor)
    };
    lines.map(read).collect()
}

/// Who is trusted to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, String> {
        let bytes = bytes_of(text.trim()).ok_or_else(|| format!("{text:?} is no public key: it has 64 hexadecimal digits"))?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| format!("{text:?} is no Ed25519 public key"))
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex(self.0.as_bytes()))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_bytes().cmp(other.0.as_bytes())
    }
}
impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Signs anchors; kept secret.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Of 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads 64 hexadecimal digits, as [`SigningKey::secret`] wrote them. The error does not repeat them.
    pub fn parse(text: &str) -> Result<Self, String> {
        bytes_of(text.trim()).map(|seed| Self::from_seed(&seed)).ok_or_else(|| "it is no key: it has 64 hexadecimal digits".into())
    }

    /// The key as text.
    pub fn secret(&self) -> String {
        hex(self.0.as_bytes())
    }

    /// What others trust.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Completes an anchor.
    pub fn sign(&self, mut anchor: Anchor) -> Anchor {
        anchor.key = self.public().to_string();
        anchor.signature = hex(&self.0.sign(&anchor.signed_bytes()).to_bytes());
        anchor
    }
}

/// Reads N bytes from 2·N hexadecimal digits.
fn bytes_of<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(value(pair[0])? * 16 + value(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(key: &SigningKey) -> Anchor {
        let anchor = Anchor { prefix: "orrery.".into(), service: "trigger".into(), seq: 7, chain: "ab".into(), ..Anchor::default() };
        key.sign(anchor)
    }

    #[test]
    fn an_anchor_counts_as_it_was_signed_by_a_trusted_key_and_not_otherwise() {
        let (key, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let trusted = BTreeSet::from([key.public()]);
        let line = |anchor: &Anchor| serde_json::to_string(anchor).expect("it has only text keys");
        let good = signed(&key);
        let text = format!("{}\n\n{}\n", line(&good), line(&good));
        assert_eq!(read_anchors(&text, &trusted).expect("both are good"), [good.clone(), good.clone()]);
        assert_eq!(read_anchors(&format!("{}\n{{", line(&good)), &trusted).expect("one is whole"), std::slice::from_ref(&good));
        let told = |anchor: &Anchor| read_anchors(&(line(anchor) + "\n"), &trusted).expect_err("it does not count");
        assert!(told(&signed(&other)).contains("line 1") && told(&signed(&other)).contains("not trusted"));
        let altered = [
            Anchor { seq: 6, ..good.clone() },
            Anchor { chain: "ac".into(), ..good.clone() },
            Anchor { shard: 1, ..good.clone() },
            Anchor { at: Timestamp(1), ..good.clone() },
        ];
        altered.iter().for_each(|anchor| assert!(told(anchor).contains("its signature is wrong"), "{anchor:?}"));
        assert!(told(&Anchor { signature: "00".into(), ..good }).contains("128 hexadecimal digits"));
    }

    #[test]
    fn keys_read_back() {
        let key = SigningKey::from_seed(&[3; 32]);
        assert_eq!(SigningKey::parse(&format!("{}\n", key.secret())).expect("a key").public(), key.public());
        assert_eq!(PublicKey::parse(&key.public().to_string()).expect("a key"), key.public());
        assert!(SigningKey::parse("secret").is_err_and(|why| !why.contains("secret")));
    }
}
