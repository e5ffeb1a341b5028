//! From registers to a number: the improved raw estimator of Otmar Ertl, "New cardinality estimation algorithms for
//! HyperLogLog sketches" (2017), algorithm 6. It needs no table of biases and no switch between ranges.
//!
//! The order of the floating-point operations is part of the contract: Redis computes the same sums in the same
//! order, and both round to the same integer.

use super::format::{MAX_COUNT, MAX_RANK, REGISTERS};

/// How many registers hold each value.
pub(super) type Histogram = [u32; 64];

/// 1 / (2 ln 2): the limit of Flajolet's bias correction for many registers.
const ALPHA_INFINITY: f64 = 0.721_347_520_444_481_7;

/// The estimated number of distinct elements behind a histogram of all registers.
pub(super) fn cardinality(histogram: &Histogram) -> u64 {
    let registers = REGISTERS as f64;
    let saturated = usize::from(MAX_RANK);
    let mut sum = registers * tau((registers - f64::from(histogram[saturated])) / registers);
    for &holders in histogram[1..saturated].iter().rev() {
        sum = (sum + f64::from(holders)) * 0.5;
    }
    sum += registers * sigma(f64::from(histogram[0]) / registers);
    let estimate = (ALPHA_INFINITY * registers * registers / sum).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative, and the cast saturates"
    )]
    let count = estimate as u64;
    count.min(MAX_COUNT)
}

/// The weight of the registers nobody touched: x + Σ x^(2^k) 2^(k-1) for k ≥ 1. Infinite where all are untouched.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let mut sum = x;
    let mut weight = 1.0;
    loop {
        x *= x;
        let previous = sum;
        sum += x * weight;
        weight += weight;
        if sum == previous {
            return sum;
        }
    }
}

/// The weight of the registers at the highest value: (1 - x - Σ (1 - x^(2^-k))² 2^-k) / 3 for k ≥ 1.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let mut sum = 1.0 - x;
    let mut weight = 1.0;
    loop {
        x = x.sqrt();
        let previous = sum;
        weight *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * weight;
        if sum == previous {
            return sum / 3.0;
        }
    }
}
