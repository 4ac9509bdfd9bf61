//! The policy of the queue, step by step.

use std::collections::BTreeSet;

use super::running::WHOLE;
use super::*;
use crate::scheduler::client::ClientId;
use crate::work::{Difficulty, Network, Timestamp};

/// What a LOCAL search of 2026 needs on average, and a LIVE one.
const EASY: u64 = 42_950;
const HARD: u64 = 1 << 32;

fn job_of(network: Network, number: u8) -> Arc<Job> {
    let time = Timestamp::from_millis(1_795_329_945_748).unwrap();
    let request = WorkRequest::new(network, time, Target::new([number; 32]), time).unwrap();
    Arc::new(Job::new(request, ClientId::Any).0)
}

fn job(number: u8) -> Arc<Job> {
    job_of(Network::Live, number)
}

fn easy(number: u8) -> Arc<Job> {
    job_of(Network::Local, number)
}

fn queue(max_running: usize, capacity: usize) -> Queue {
    Queue::new(NonZeroUsize::new(max_running).unwrap(), capacity)
}

/// A queue with these hard searches.
fn queue_of(numbers: impl IntoIterator<Item = u8>) -> Queue {
    let mut queue = queue(256, 0);
    // A batch has one nonce in these tests.
    queue.set_batch(1);
    for number in numbers {
        queue.push(job(number)).unwrap();
    }
    queue
}

/// A core: one slice at a time, left at once.
fn core(engine: usize) -> Demand {
    Demand {
        engine,
        searches: 1,
        stops_at_once: true,
        engines: 1,
    }
}

/// One of several cards, with batches of up to 64 searches.
fn card(engine: usize, engines: usize) -> Demand {
    Demand {
        engine,
        searches: 64,
        stops_at_once: false,
        engines,
    }
}

/// Gives `demand` a batch with `length` nonces of each search.
fn take(queue: &mut Queue, demand: &Demand, length: u64) -> Batch {
    let jobs = queue.pick(demand).into_iter();
    let slices = jobs.map(|job| Assigned {
        nonces: job.claim(length),
        job,
    });
    queue.assign(demand.engine, slices.collect(), Instant::now())
}

/// The numbers that the searches of a batch were made with.
fn numbers(batch: &Batch) -> Vec<u8> {
    let number = |assigned: &Assigned| assigned.job.request.target().as_bytes()[0];
    batch.slices.iter().map(number).collect()
}

/// What a core is given next.
fn next(queue: &mut Queue, engine: usize) -> Vec<u8> {
    numbers(&take(queue, &core(engine), 1))
}

#[test]
fn one_search_has_every_engine() {
    let mut queue = queue_of([1]);
    for engine in 0..3 {
        assert_eq!(next(&mut queue, engine), [1]);
    }
}

#[test]
fn running_searches_are_served_in_turn() {
    let mut queue = queue_of([1, 2, 3]);
    let mut served = Vec::new();
    for _ in 0..6 {
        let batch = take(&mut queue, &core(0), 1);
        assert!(queue.complete(0));
        served.extend(numbers(&batch));
    }
    assert_eq!(served, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn a_second_engine_takes_the_search_that_has_none() {
    let mut queue = queue_of([1]);
    take(&mut queue, &core(0), 1);
    queue.push(job(2)).unwrap();
    assert_eq!(next(&mut queue, 1), [2]);
    assert!(queue.complete(0));
    assert_eq!(next(&mut queue, 2), [1]);
}

#[test]
fn further_searches_wait_in_order_up_to_the_capacity() {
    let mut queue = queue(1, 2);
    let first = job(1);
    queue.push(Arc::clone(&first)).unwrap();
    queue.push(job(2)).unwrap();
    queue.push(job(3)).unwrap();
    assert_eq!(queue.push(job(4)), Err(Full));
    assert_eq!((queue.running(), queue.waiting()), (1, 2));
    assert!(queue.remove(&first));
    assert_eq!((queue.running(), queue.waiting()), (1, 1));
    assert_eq!(next(&mut queue, 0), [2]);
}

#[test]
fn a_search_that_waits_can_leave() {
    let mut queue = queue(1, 2);
    let (second, third) = (job(2), job(3));
    queue.push(job(1)).unwrap();
    queue.push(Arc::clone(&second)).unwrap();
    queue.push(third).unwrap();
    assert!(!queue.remove(&second));
    assert_eq!((queue.running(), queue.waiting()), (1, 1));
    assert_eq!(next(&mut queue, 0), [1]);
}

#[test]
fn putting_back_a_search_that_has_ended_changes_nothing() {
    let mut queue = queue_of([1]);
    let taken = take(&mut queue, &core(0), 1);
    queue.remove(&taken.slices[0].job);
    assert!(queue.complete(0));
    assert!(next(&mut queue, 0).is_empty());
}

#[test]
fn easy_searches_run_at_once_and_take_no_slot_of_hard_ones() {
    let mut queue = queue(1, 3);
    queue.set_batch(EASY);
    let hard = job(1);
    queue.push(Arc::clone(&hard)).unwrap();
    queue.push(job(2)).unwrap();
    let quick = easy(3);
    queue.push(Arc::clone(&quick)).unwrap();
    assert_eq!((queue.running(), queue.waiting()), (2, 1));
    // All of them together are bounded.
    queue.push(easy(4)).unwrap();
    assert_eq!(queue.push(easy(5)), Err(Full));
    // The end of an easy search frees no slot for a hard one.
    assert!(!queue.remove(&quick));
    assert_eq!((queue.running(), queue.waiting()), (2, 1));
    assert!(queue.remove(&hard));
    assert_eq!((queue.running(), queue.waiting()), (2, 0));
}

#[test]
fn which_searches_are_easy_depends_on_the_engines() {
    let mut queue = queue(1, 9);
    queue.set_batch(EASY - 1);
    for job in [job(1), job(2), easy(3), job(4), easy(5)] {
        queue.push(job).unwrap();
    }
    assert_eq!((queue.running(), queue.waiting()), (1, 4));
    assert!(!queue.set_batch(EASY - 1));
    assert!(queue.set_batch(EASY));
    assert_eq!((queue.running(), queue.waiting()), (3, 2));
    assert!(!queue.set_batch(HARD - 1));
    assert!(queue.set_batch(HARD));
    assert_eq!((queue.running(), queue.waiting()), (5, 0));
}

#[test]
fn a_single_search_is_split_over_all_batches_of_all_cards() {
    let mut queue = queue_of([1]);
    let mut slices = BTreeSet::new();
    for engine in [0, 0, 1, 1] {
        let batch = take(&mut queue, &card(engine, 2), 1000);
        assert_eq!(numbers(&batch), [1]);
        slices.insert(batch.slices[0].nonces.start);
    }
    assert_eq!(slices.len(), 4);
}

#[test]
fn a_batch_has_an_engines_share_of_the_searches() {
    let mut queue = queue_of(0..7);
    assert_eq!(numbers(&take(&mut queue, &card(0, 3), 1)), [0, 1, 2]);
    assert_eq!(numbers(&take(&mut queue, &card(1, 3), 1)), [3, 4, 5]);
    // The others have engines already.
    assert_eq!(numbers(&take(&mut queue, &card(2, 3), 1)), [6]);
}

#[test]
fn a_batch_holds_no_more_than_the_engine_takes_on() {
    let mut queue = queue_of(0..100);
    assert_eq!(take(&mut queue, &card(0, 1), 1).slices.len(), 64);
    // The second batch begins with those that the first left.
    let second = numbers(&take(&mut queue, &card(0, 1), 1));
    assert_eq!(second[..36], (64..100).collect::<Vec<_>>());
    assert_eq!(second.len(), 64);
}

/// Lets three cards that have batches in flight go on, in the order that `engine` says for each round and step. After a
/// few rounds each must have a search of its own.
fn assert_settle(queue: &mut Queue, engine: impl Fn(usize, usize) -> usize) {
    let mut served = [const { BTreeSet::new() }; 3];
    for round in 0..20 {
        for step in 0..3 {
            let engine = engine(round, step);
            assert!(queue.complete(engine));
            let next = take(queue, &card(engine, 3), 1);
            if round >= 4 {
                served[engine].extend(numbers(&next));
            }
        }
    }
    let all: BTreeSet<_> = served.iter().flatten().copied().collect();
    assert_eq!(served.each_ref().map(BTreeSet::len), [1; 3], "{served:?}");
    assert_eq!(all.len(), 3, "{served:?}");
}

#[test]
fn as_many_searches_as_cards_have_one_each() {
    // The first card is awake before the others, and takes two searches.
    let mut queue = queue_of([1, 2, 3]);
    for engine in [0, 0, 1, 1, 2, 2] {
        take(&mut queue, &card(engine, 3), 1);
    }
    // Now one is a little faster, now another.
    assert_settle(
        &mut queue,
        |round, step| {
            if round % 2 == 0 { step } else { 2 - step }
        },
    );
}

#[test]
fn a_card_that_shares_a_search_takes_one_that_has_half_a_card() {
    let mut queue = queue_of([1, 2, 3]);
    // Two cards have the third search, and one alternates between the first two. Searches go to the end of the line as
    // they are given.
    for (engine, place) in [(0, 2), (0, 2), (2, 2), (2, 2), (1, 0), (1, 0)] {
        let job = Arc::clone(&queue.running[place].job);
        let nonces = job.claim(1);
        queue.assign(engine, vec![Assigned { job, nonces }], Instant::now());
    }
    assert_settle(&mut queue, |_, step| step);
}

#[test]
fn an_engine_that_cannot_stop_skips_a_search_with_enough_in_flight() {
    let mut queue = queue(4, 0);
    queue.push(easy(1)).unwrap();
    let half = take(&mut queue, &card(0, 2), 4 * EASY);
    let rest = take(&mut queue, &card(0, 2), 4 * EASY);
    assert_eq!((half.slices.len(), rest.slices.len()), (1, 1));
    assert!(queue.pick(&card(0, 2)).is_empty());
    assert!(queue.pick(&card(1, 2)).is_empty());
    assert_eq!(queue.pick(&core(2)).len(), 1);
    assert!(queue.complete(0));
    assert_eq!(queue.pick(&card(1, 2)).len(), 1);
}

#[test]
fn no_search_starves_beside_endless_easy_searches() {
    // A card gives each search as much as it takes to be all but sure of an answer.
    for (demand, length) in [(core(0), EASY), (card(0, 1), 8 * EASY)] {
        let mut queue = queue(1, 1000);
        queue.set_batch(8 * EASY);
        queue.push(job(0)).unwrap();
        let (mut hard, mut easies) = (0, 0);
        for round in 0..100 {
            for _ in 0..8 {
                queue.push(easy(1 + round)).unwrap();
            }
            // As much is done as comes in, and the hard search once.
            for _ in 0..if demand.searches == 1 { 11 } else { 1 } {
                let batch = take(&mut queue, &demand, length);
                assert!(queue.complete(0));
                for assigned in batch.slices.iter() {
                    if assigned.job.request.network() == Network::Live.into() {
                        hard += 1;
                    } else {
                        easies += 1;
                        queue.remove(&assigned.job);
                    }
                }
            }
        }
        assert!(hard >= 90, "{hard}");
        assert!(easies >= 790, "{easies}");
    }
}

#[test]
fn no_search_starves_under_overload() {
    let mut queue = queue(1, 100_000);
    queue.set_batch(8 * EASY);
    queue.push(job(0)).unwrap();
    let first = easy(1);
    queue.push(Arc::clone(&first)).unwrap();
    let mut hard = 0;
    for _ in 0..1000 {
        // Two come for each slice.
        queue.push(easy(2)).unwrap();
        queue.push(easy(3)).unwrap();
        let batch = take(&mut queue, &core(0), EASY);
        assert!(queue.complete(0));
        if batch.slices[0].job.request.network() == Network::Live.into() {
            hard += 1;
        } else {
            queue.remove(&batch.slices[0].job);
        }
    }
    // The line grows, and so it has what it is owed: a quarter.
    assert!((240..=260).contains(&hard), "{hard}");
    assert!(queue.take_running(&first).is_none());
}

#[test]
fn a_request_joins_a_search_that_is_as_hard_or_a_little_harder() {
    let request = |network, year: i64, number| {
        let time = Timestamp::from_millis(1_704_067_200_000 + year * 31_622_400_000).unwrap();
        WorkRequest::new(network, time, Target::new([number; 32]), time).unwrap()
    };
    let mut queue = queue(4, 4);
    // Thresholds of LIVE are the same in the first two years, and half in the third.
    let searched = request(Network::Live, 2, 1);
    let job = Arc::new(Job::new(searched, ClientId::Any).0);
    queue.push(Arc::clone(&job)).unwrap();
    let joins = |queue: &Queue, request| queue.find(&request).is_some();
    assert!(joins(&queue, searched));
    assert!(joins(&queue, request(Network::Live, 1, 1)));
    assert!(!joins(&queue, request(Network::Live, 4, 1)), "harder");
    assert!(!joins(&queue, request(Network::Beta, 2, 1)), "far easier");
    assert!(
        !joins(&queue, request(Network::Live, 2, 2)),
        "another target"
    );
    // Several of one target, each with its own.
    queue
        .push(Arc::new(
            Job::new(request(Network::Beta, 2, 1), ClientId::Any).0,
        ))
        .unwrap();
    assert!(joins(&queue, request(Network::Beta, 2, 1)));
    queue.remove(&job);
    assert!(!joins(&queue, searched));
    assert!(joins(&queue, request(Network::Beta, 2, 1)));
    queue.drain();
    assert!(queue.targets.is_empty() && !joins(&queue, request(Network::Beta, 2, 1)));
}

#[test]
fn no_request_joins_a_search_under_the_other_rule() {
    let mut queue = queue(4, 4);
    let atto = job(1);
    queue.push(Arc::clone(&atto)).unwrap();
    let nano = |difficulty| WorkRequest::nano(*atto.request.target(), difficulty);
    // As hard as LIVE: 2^32 hashes on average, for the same 32 bytes.
    let asked = nano(Difficulty::new(!(HARD - 1)));
    assert_eq!(asked.rule().expected_hashes(), expected(&atto));
    assert!(queue.find(&asked).is_none());
    let other = Arc::new(Job::new(asked, ClientId::Any).0);
    queue.push(Arc::clone(&other)).unwrap();
    let found = |request: &WorkRequest| queue.find(request).unwrap();
    assert!(Arc::ptr_eq(found(&asked), &other));
    assert!(Arc::ptr_eq(found(&atto.request), &atto));
    // Under Nano's rule a request joins what is as hard or a little harder, too.
    let expected_hashes = |hashes: u64| nano(Difficulty::new(!(u64::MAX / hashes)));
    assert!(queue.find(&expected_hashes(HARD / 2)).is_some());
    assert!(queue.find(&expected_hashes(HARD / 4)).is_none());
    assert!(queue.find(&expected_hashes(HARD * 2)).is_none());
}

#[test]
fn the_effort_ahead_is_counted_in_hashes() {
    let mut queue = queue(2, 100);
    queue.set_batch(EASY);
    let (one, local) = (HARD as f64, expected(&easy(0)));
    let (hard, easy) = (job(0).request, easy(0).request);
    let effort = |queue: &Queue, request| {
        let Effort { wait, solve } = queue.effort(request);
        (wait, solve)
    };
    assert_eq!(effort(&queue, &hard), (0.0, one));
    queue.push(job(1)).unwrap();
    assert_eq!(effort(&queue, &hard), (0.0, 2.0 * one));
    assert_eq!(effort(&queue, &easy), (0.0, 2.0 * local));
    queue.push(job(2)).unwrap();
    // Two searches of `one` hashes each end twice in as many hashes of each.
    assert_eq!(effort(&queue, &hard), (one, 2.0 * one));
    queue.push(job(3)).unwrap();
    assert_eq!(effort(&queue, &hard), (2.0 * one, 2.0 * one));
    let fourth = job(4);
    queue.push(Arc::clone(&fourth)).unwrap();
    assert_eq!(effort(&queue, &hard).0, 3.0 * one);
    queue.remove(&fourth);
    assert_eq!(effort(&queue, &hard).0, 2.0 * one);
    assert_eq!(queue.until_room(), one);
    // Room for one more is there when the first of the two hard ones and the easy one has ended.
    queue.push(job_of(Network::Local, 5)).unwrap();
    assert_eq!(effort(&queue, &hard).0, 2.0 * one);
    assert!(queue.until_room() < 3.0 * local, "{}", queue.until_room());
    queue.drain();
    assert_eq!((queue.until_room(), queue.until_run()), (0.0, 0.0));
}

#[test]
fn a_written_off_search_goes_to_another_engine_and_may_still_be_answered_late() {
    let mut queue = queue_of([1]);
    let batch = take(&mut queue, &card(0, 2), 1);
    assert_eq!(queue.write_off(0).len(), 1);
    assert!(queue.write_off(0).is_empty(), "it is written off once");
    // No other engine works on it, as far as is counted.
    assert_eq!(queue.running[0].rank(1, &queue.ledger), (0, false));
    assert_eq!(queue.in_flight(0), 1);
    let first = queue.first_in_flight(0).unwrap();
    assert!(Arc::ptr_eq(&first.slices, &batch.slices));
    assert!(!queue.complete(0), "it was no longer counted on");
    assert_eq!(queue.in_flight(0), 0);
    // The next one counts again.
    take(&mut queue, &card(0, 2), 1);
    assert_eq!(queue.running[0].rank(1, &queue.ledger), (WHOLE, true));
    assert!(queue.complete(0));
    assert_eq!(queue.running[0].rank(1, &queue.ledger), (0, false));
}

#[test]
fn an_engine_that_never_comes_back_leaves_nothing_in_flight() {
    let mut queue = queue_of([1, 2]);
    take(&mut queue, &card(0, 1), 1);
    queue.write_off(0);
    take(&mut queue, &card(0, 1), 1);
    let counted = queue.clear(0);
    assert_eq!(counted.iter().map(numbers).collect::<Vec<_>>(), [[1, 2]]);
    assert_eq!((queue.in_flight(0), queue.ledger.slices(0)), (0, 0));
    assert!(queue.first_in_flight(0).is_none() && !queue.complete(0));
}

#[test]
fn a_search_of_a_slow_card_gets_its_part_of_a_fast_one() {
    // They take equally long for slices of 200 nonces and of one.
    let cards = [(card(0, 2), 200), (card(1, 2), 1)];
    let mut queue = queue_of([1, 2, 3]);
    queue.set_batch(200);
    let mut given = [0_u64; 4];
    let mut give = |queue: &mut Queue, demand: &Demand, nonces: u64| {
        let jobs = queue.pick(demand);
        let length = (nonces / jobs.len() as u64).max(1);
        let slices: Vec<_> = jobs
            .into_iter()
            .map(|job| Assigned {
                nonces: job.claim(length),
                job,
            })
            .collect();
        let batch = queue.assign(demand.engine, slices, Instant::now());
        numbers(&batch)
            .into_iter()
            .for_each(|number| given[usize::from(number)] += length);
    };
    // The slow one is asked first, and has two batches of the first search.
    for (demand, nonces) in [cards[1], cards[1], cards[0], cards[0]] {
        give(&mut queue, &demand, nonces);
    }
    for _ in 0..1000 {
        for (demand, nonces) in cards {
            assert!(queue.complete(demand.engine));
            give(&mut queue, &demand, nonces);
        }
    }
    let total: u64 = given.iter().sum();
    assert!(total > 195 * 1000, "the fast card idles: {given:?}");
    assert!(
        given[1..].iter().all(|&nonces| nonces * 10 >= total),
        "{given:?}"
    );
}

#[test]
fn a_slice_is_short_where_others_would_waste_it() {
    let mut queue = queue(4, 0);
    queue.set_batch(8 * EASY);
    let longest = |queue: &Queue, job: &Arc<Job>, engines| queue.longest_slice(job, engines);
    // A card knows of its own answers.
    assert_eq!(longest(&queue, &job(1), 1), u64::MAX);
    assert_eq!(longest(&queue, &job(1), 8), HARD / 256);
    // What one batch is all but sure to end needs no second one.
    assert_eq!(longest(&queue, &easy(1), 8), u64::MAX);
    // But not so short that the host takes longer than the card.
    queue.set_batch(7 * EASY);
    assert_eq!(longest(&queue, &easy(1), 2), 7 * EASY / 40);
    queue.set_batch(HARD);
    assert_eq!(longest(&queue, &job(1), 8), HARD / 40);
}

/// 20 ms at 5 GH/s.
const BATCH: u64 = 100_000_000;

/// The part of all nonces that were tested before an answer was known, of a number of searches one after the other on
/// cards in step. A card finishes what it has in flight before it learns of another card's answer.
fn useful_part(cards: usize, searches: u8, search: fn(u8) -> Arc<Job>) -> f64 {
    let mut random = fastrand::Rng::with_seed(5);
    let mut queue = queue(4, 4);
    queue.set_batch(BATCH);
    let (mut needed, mut tested) = (0.0, 0.0);
    let give = |queue: &mut Queue, card_number| {
        let jobs = queue.pick(&card(card_number, cards));
        let slices = jobs.into_iter().map(|job| Assigned {
            nonces: job.claim(BATCH.min(queue.longest_slice(&job, cards))),
            job,
        });
        let slices = slices.collect();
        queue.assign(card_number, slices, Instant::now());
    };
    for number in 0..searches {
        let search = search(number);
        queue.push(Arc::clone(&search)).unwrap();
        let need = -(1.0 - random.f64()).ln() * search.request.rule().expected_hashes();
        let mut of_this_search = 0.0;
        while of_this_search < need {
            for card_number in 0..cards {
                let first = queue.first_in_flight(card_number);
                let slices = first.map_or(0, |batch| batch.slices.len());
                for slice in 0..slices {
                    let first = queue.first_in_flight(card_number).unwrap();
                    let Assigned { job, nonces } = &first.slices[slice];
                    tested += nonces.count as f64;
                    if Arc::ptr_eq(job, &search) {
                        of_this_search += nonces.count as f64;
                    }
                }
                queue.complete(card_number);
                while queue.in_flight(card_number) < 2 {
                    give(&mut queue, card_number);
                }
            }
        }
        needed += need;
        queue.remove(&search);
    }
    needed / tested
}

#[test]
fn eight_fast_cards_waste_little_after_an_answer() {
    let [one, eight] = [1, 8].map(|cards| useful_part(cards, 20, job));
    assert!(eight >= 0.92, "{eight}");
    assert!(one >= 0.92, "{one}");
    // Searches of less than a batch, which one card ends in 8.6 ms on average. With whole batches it would be 0.07.
    let two = useful_part(2, 100, |number| job_of(Network::Dev, number));
    assert!(two >= 0.75, "{two}");
}

/// A hard search of this client.
fn job_for(client: u8, number: u8) -> Arc<Job> {
    let client = ClientId::at([192, 0, 2, client].into());
    Arc::new(Job::new(job(number).request, client).0)
}

#[test]
fn clients_share_the_engines_and_not_their_searches() {
    let mut queue = queue(2, 8);
    queue.set_batch(1);
    let serve = |queue: &mut Queue, rounds: usize| -> Vec<u8> {
        let served = (0..rounds).flat_map(|_| {
            let served = next(queue, 0);
            assert!(queue.complete(0));
            served
        });
        served.collect()
    };
    for number in 1..=4 {
        queue.push(job_for(1, number)).unwrap();
    }
    assert_eq!(serve(&mut queue, 4), [1, 2, 1, 2]);
    // A new client begins as if it had been given as much.
    let modest = job_for(2, 9);
    queue.push(Arc::clone(&modest)).unwrap();
    let served = serve(&mut queue, 40);
    let own = served.iter().filter(|&&number| number == 9).count();
    assert!((17..=23).contains(&own), "{served:?}");
    assert_eq!((queue.running(), queue.waiting()), (2, 3));
    // One that comes back has the slot at once, and every engine until it was given as much.
    queue.remove(&modest);
    serve(&mut queue, 20);
    queue.push(job_for(2, 10)).unwrap();
    assert_eq!(serve(&mut queue, 10), [10; 10]);
}

#[test]
fn a_full_queue_has_room_for_a_client_with_fewer_searches() {
    let client = |number| ClientId::at([192, 0, 2, number].into());
    let mut queue = queue(1, 3);
    queue.set_batch(1);
    let greedy = [1, 2, 3, 4].map(|number| job_for(1, number));
    let shared = [greedy[3].join(), greedy[3].join()];
    for job in &greedy {
        queue.push(Arc::clone(job)).unwrap();
    }
    // Its own next search finds none.
    assert!(queue.make_room(&client(1)).is_none());
    // The greedy client's last search must go, but none that others wait for.
    let evicted = queue.make_room(&client(2)).unwrap();
    assert!(Arc::ptr_eq(&evicted, &greedy[2]));
    queue.push(job_for(2, 9)).unwrap();
    assert!(queue.make_room(&client(3)).is_some());
    queue.push(job_for(3, 10)).unwrap();
    // Two each are as many as another would have.
    assert!(queue.make_room(&client(2)).is_none());
    drop(shared);
}
