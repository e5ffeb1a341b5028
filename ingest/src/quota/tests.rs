use linktide_common::bucket::Day;

use super::*;

fn quotas(tenants: usize) -> (Quotas, Clock) {
    let clock = Clock::manual(Day(20_000).start());
    let config =
        QuotaConfig { clicks: Rate { per_second: 2, burst: 5 }, bytes: Rate { per_second: 100, burst: 1000 }, tenants };
    (Quotas::new(config, clock.clone()), clock)
}

fn admitted(quotas: &Quotas, tenant: u64, bytes: usize, count: usize) -> usize {
    (0..count).filter(|_| quotas.admit(TenantId(tenant), bytes).is_ok()).count()
}

fn wait(clock: &Clock, ms: i64) {
    clock.set(clock.now().plus_millis(ms));
}

#[test]
fn burst_comes_at_once_and_the_rate_ever_after() {
    let (quotas, clock) = quotas(10);
    assert_eq!(admitted(&quotas, 1, 10, 9), 5);
    let over = quotas.admit(TenantId(1), 10).unwrap_err();
    assert_eq!((over.tenant, over.limit, over.wait_ms, over.retry_after()), (TenantId(1), Limit::Clicks, 500, 1));
    wait(&clock, 499);
    assert_eq!(admitted(&quotas, 1, 10, 1), 0);
    wait(&clock, 1);
    assert_eq!(admitted(&quotas, 1, 10, 2), 1, "it was told half a second, and that is what it takes");
    wait(&clock, 3_600_000);
    assert_eq!(admitted(&quotas, 1, 10, 9), 5, "no more than the burst is kept");
    wait(&clock, -60_000);
    assert_eq!(admitted(&quotas, 1, 10, 1), 0);
}

#[test]
fn bytes_are_bounded_too_and_a_refused_record_costs_nothing() {
    let (quotas, clock) = quotas(10);
    assert_eq!(admitted(&quotas, 1, 600, 1), 1);
    let over = quotas.admit(TenantId(1), 600).unwrap_err();
    assert_eq!((over.limit, over.wait_ms, over.retry_after()), (Limit::Bytes, 2_000, 2));
    assert_eq!(admitted(&quotas, 1, 100, 4), 4, "neither bucket paid for what was refused");
    wait(&clock, 2_000);
    assert_eq!(admitted(&quotas, 1, 200, 1), 1);
}

#[test]
fn one_tenant_uses_up_nothing_of_another() {
    let (quotas, _) = quotas(10);
    assert_eq!((admitted(&quotas, 1, 10, 9), admitted(&quotas, 2, 10, 9)), (5, 5));
}

#[test]
fn tenants_beyond_those_remembered_share_one_quota() {
    let (quotas, clock) = quotas(2);
    assert_eq!((admitted(&quotas, 1, 10, 1), admitted(&quotas, 2, 10, 1)), (1, 1));
    let flood: usize = (3..1000).map(|tenant| admitted(&quotas, tenant, 10, 1)).sum();
    assert_eq!((flood, quotas.remembered()), (5, 2));
    assert_eq!(admitted(&quotas, 1, 10, 9), 4, "those that are remembered keep their own");
    wait(&clock, 10_000);
    assert_eq!((admitted(&quotas, 1001, 10, 9), quotas.remembered()), (5, 1), "full buckets were forgotten");
}
