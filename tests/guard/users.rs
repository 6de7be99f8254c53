//! Of each user the first answer in ten seconds.

use cohort::engine::guard::{Recent, Sufferers};

use super::START;

/// How many of the answers to `user`, one every `every` milliseconds for `seconds`, count beside `others`
/// new users a second.
fn counted(user: u32, every: u64, seconds: u64, others: u64) -> usize {
    let mut recent = Recent::default();
    let mut newcomer = 1_000_000_u32;
    let mut counted = 0;
    for millis in 0..seconds * 1000 {
        let now = START + millis;
        if others > 0 && millis % (1000 / others).max(1) == 0 {
            newcomer += 7;
            assert!(recent.counts(newcomer, now), "a new user counts");
        }
        if millis % every == 0 && recent.counts(user, now) {
            counted += 1;
        }
    }
    counted
}

#[test]
fn a_user_counts_once_in_ten_seconds_however_busy() {
    for user in [0, 1, 17, 99_999, u32::MAX] {
        assert_eq!(counted(user, 1, 60, 0), 6, "{user}, alone");
        assert_eq!(counted(user, 10, 60, 20), 6, "{user}, beside 20 a second");
        // Who comes often keeps his place among many more than there are places.
        assert_eq!(counted(user, 10, 60, 1_000), 6, "{user}, beside 1,000 a second");
    }
}

#[test]
fn among_more_users_than_there_are_places_one_who_comes_seldom_is_at_most_a_256th() {
    // 500 new users a second: whoever was not seen for half a second may have lost his place.
    for every in [250, 500, 1_000] {
        let counted = counted(5, every, 60, 500) as u64;
        assert!(counted <= 60 * 500 / 100, "{counted} of {} count", 60_000 / every);
    }
}

#[test]
fn it_is_ten_seconds_after_any_time() {
    for after in [0, 1, 5_000, 9_900, 10_100, 60_000, 3_600_000, 86_400_000] {
        let mut recent = Recent::default();
        assert!(recent.counts(7, START));
        assert_eq!(recent.counts(7, START + after), after >= 10_000, "after {after} ms");
    }
}

#[test]
fn users_are_told_apart() {
    let mut recent = Recent::default();
    let counts = (0..200).filter(|user| recent.counts(*user * 10, START)).count();
    assert!(counts >= 198, "{counts} of 200");
    let again = (0..200).filter(|user| recent.counts(*user * 10, START + 100)).count();
    assert!(again < 60, "{again} of 200 had lost their places");
}

#[test]
fn many_sufferers_are_at_least_three_none_of_whom_is_behind_more_than_half() {
    let many = |users: &[u32]| {
        let mut sufferers = Sufferers::default();
        users.iter().for_each(|user| sufferers.add(*user));
        sufferers.are_many()
    };
    for (users, wanted) in [
        (&[][..], false),
        (&[1, 2], false),
        (&[1, 2, 3], true),
        (&[1, 1, 2, 3], true),
        (&[1, 1, 1, 2, 3], false),
        (&[1, 2, 1, 2, 1, 2], false),
    ] {
        assert_eq!(many(users), wanted, "{users:?}");
    }
    // Only the last sixteen count.
    let long: Vec<u32> = [9; 30].into_iter().chain(1..=16).collect();
    assert!(many(&long));
}
