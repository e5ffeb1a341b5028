//! The text that keys and ids are made of: letters and digits alone, so that a double click takes a whole one, and with a
//! checksum, so that whoever looks for leaked secrets tells one from other text, and a slip of the pen from a wrong key.

use rand::RngExt as _;
use rand::distr::Alphanumeric;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of a checksum: 62^6 is more than 2^32.
pub(super) const CHECKSUM: usize = 6;
/// Letters of an id: 71 bits, so that two never meet.
const ID: usize = 12;

/// Random letters and digits, each worth 5.95 bits.
pub(super) fn random(length: usize) -> String {
    rand::rng().sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

/// An id that nobody else has.
pub(super) fn new_id() -> String {
    random(ID)
}

/// Whether a text may be an id: it becomes part of the name of an object.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The CRC-32 of a text in the digits of base 62.
pub(super) fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[rest % DIGITS.len()];
        rest /= DIGITS.len();
    }
    digits.iter().copied().map(char::from).collect()
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes that hexadecimal digits stand for.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_the_crc_in_base_62() {
        // The check value of CRC-32/ISO-HDLC: cbf43926 of "123456789".
        let value = checksum("123456789")
            .bytes()
            .fold(0, |value, digit| value * 62 + DIGITS.iter().position(|known| *known == digit).unwrap());
        assert_eq!((value, checksum("").as_str()), (0xcbf4_3926, "000000"));
    }

    #[test]
    fn hexadecimal_digits_are_read_again() {
        assert_eq!((hex(&[0, 0xaf, 7]).as_str(), unhex("00af07")), ("00af07", Some(vec![0, 0xaf, 7])));
        assert_eq!((unhex("0"), unhex("0g"), unhex("é0")), (None, None, None));
        assert!(is_id(&new_id()) && !is_id("../../../..x") && new_id() != new_id());
    }
}
