//! The proof of work: a number that, behind the token, gives a SHA-256 with enough leading zero bits. It costs a browser a
//! moment, and a program that clicks a million times a million moments.

use sha2::{Digest as _, Sha256};

/// Characters that an answer may have: more are needed by nobody.
const LONGEST: usize = 20;

/// Whether `answer` solves `token`.
pub(super) fn is_done(token: &str, answer: &str, bits: u32) -> bool {
    if answer.is_empty() || answer.len() > LONGEST || !answer.bytes().all(|digit| digit.is_ascii_digit()) {
        return false;
    }
    let digest = Sha256::new().chain_update(token).chain_update(".").chain_update(answer).finalize();
    let mut zeros = 0;
    for byte in digest {
        zeros += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    zeros >= bits
}

/// An answer, found as a browser finds it.
#[cfg(test)]
pub(super) fn solve(token: &str, bits: u32) -> String {
    (0_u64..).map(|number| number.to_string()).find(|answer| is_done(token, answer, bits)).expect("there is one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_checked() {
        let answer = solve("token", 10);
        assert!(is_done("token", &answer, 10) && !is_done("token", &answer, 64));
        assert!(is_done("token", "0", 0) && !is_done("token", "", 0) && !is_done("token", "x", 0));
        assert!(!is_done("token", &"0".repeat(21), 0));
        // `printf token.157 | sha256sum`
        assert!(solve("token", 8).parse::<u64>().unwrap() < 10_000);
    }
}
