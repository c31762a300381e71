//! Flat combining: callers queue up, the first one leads and serves everybody who waits, in the order of arrival.
//!
//! Without contention there is no second thread: the caller serves itself. A leader serves one bounded group, then the first of
//! those who came meanwhile leads. If a leader panics, its group is told so and the next one leads.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Requests in one group: no more than one waits per thread, and a process of ours has far fewer writing threads.
pub(super) const GROUP_REQUESTS: usize = 256;

/// Serves requests of many threads in groups, one group at a time.
#[derive(Debug)]
pub(super) struct Combiner<R, A> {
    queue: Mutex<Queue<R, A>>,
    /// Weight of a group: it closes with the request that reaches this.
    group_weight: usize,
}

impl<R, A> Combiner<R, A> {
    /// Groups close at [`GROUP_REQUESTS`] requests or this weight.
    pub(super) fn new(group_weight: usize) -> Self {
        Self { queue: Mutex::new(Queue { waiting: VecDeque::new(), leading: false }), group_weight }
    }

    /// Has the request served, by this thread or another; `serve` answers a group in its order. None if the leader panicked.
    pub(super) fn submit(&self, request: R, weight: usize, serve: impl FnOnce(Vec<R>) -> Vec<A>) -> Option<A> {
        let seat = Arc::new(Seat { word: Mutex::new(Word::Wait), signal: Condvar::new() });
        let wait = {
            let mut queue = lock(&self.queue);
            queue.waiting.push_back(Waiting { request, weight, seat: Arc::clone(&seat) });
            std::mem::replace(&mut queue.leading, true)
        };
        if wait {
            match seat.listen() {
                Word::Answer(answer) => return Some(answer),
                Word::Abandoned => return None,
                Word::Lead | Word::Wait => {}
            }
        }
        let mut turn = Turn { combiner: self, seats: Vec::new() };
        let requests = turn.take();
        let answers = serve(requests);
        let mut own = None;
        for (other, answer) in turn.seats.drain(..).zip(answers) {
            if Arc::ptr_eq(&other, &seat) { own = Some(answer) } else { other.say(Word::Answer(answer)) }
        }
        own
    }
}

#[derive(Debug)]
struct Queue<R, A> {
    waiting: VecDeque<Waiting<R, A>>,
    leading: bool,
}

#[derive(Debug)]
struct Waiting<R, A> {
    request: R,
    weight: usize,
    seat: Arc<Seat<A>>,
}

/// Where one caller waits for a word from the leader.
#[derive(Debug)]
struct Seat<A> {
    word: Mutex<Word<A>>,
    signal: Condvar,
}

#[derive(Debug)]
enum Word<A> {
    Wait,
    Lead,
    Answer(A),
    Abandoned,
}

impl<A> Seat<A> {
    fn say(&self, word: Word<A>) {
        *lock(&self.word) = word;
        self.signal.notify_one();
    }

    fn listen(&self) -> Word<A> {
        let word = lock(&self.word);
        let mut word = self.signal.wait_while(word, |word| matches!(word, Word::Wait)).unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut word, Word::Wait)
    }
}

/// One leader's turn. When it ends, even by a panic, nobody is left waiting without a leader.
struct Turn<'a, R, A> {
    combiner: &'a Combiner<R, A>,
    seats: Vec<Arc<Seat<A>>>,
}

impl<R, A> Turn<'_, R, A> {
    fn take(&mut self) -> Vec<R> {
        let mut queue = lock(&self.combiner.queue);
        let (mut requests, mut weight) = (Vec::new(), 0);
        while requests.len() < GROUP_REQUESTS && weight < self.combiner.group_weight {
            let Some(next) = queue.waiting.pop_front() else { break };
            weight += next.weight;
            requests.push(next.request);
            self.seats.push(next.seat);
        }
        requests
    }
}

impl<R, A> Drop for Turn<'_, R, A> {
    fn drop(&mut self) {
        for seat in self.seats.drain(..) {
            seat.say(Word::Abandoned);
        }
        let mut queue = lock(&self.combiner.queue);
        match queue.waiting.front() {
            Some(next) => next.seat.say(Word::Lead),
            None => queue.leading = false,
        }
    }
}

/// A lock whose data stays whole even if a holder panicked: it is changed in single steps only.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[test]
    fn every_request_is_answered_once_and_one_group_runs_at_a_time() {
        let combiner = Combiner::new(usize::MAX);
        let (running, groups, served) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for thread in 0..8_usize {
                let (combiner, running, groups, served) = (&combiner, &running, &groups, &served);
                scope.spawn(move || {
                    for n in 0..1000 {
                        let answer = combiner.submit(thread * 1000 + n, 1, |group: Vec<usize>| {
                            assert_eq!(running.fetch_add(1, SeqCst), 0, "two leaders at once");
                            groups.fetch_add(1, SeqCst);
                            served.fetch_add(group.len(), SeqCst);
                            let answers = group.into_iter().map(|n| n + 1).collect();
                            running.fetch_sub(1, SeqCst);
                            answers
                        });
                        assert_eq!(answer, Some(thread * 1000 + n + 1));
                    }
                });
            }
        });
        assert_eq!(served.load(SeqCst), 8000);
        assert!(groups.load(SeqCst) <= 8000);
        assert!(!lock(&combiner.queue).leading, "a leader is left behind");
    }

    #[test]
    fn a_panicking_leader_leaves_nobody_waiting() {
        let (combiner, entered) = (Combiner::<u8, u8>::new(1), Barrier::new(2));
        std::thread::scope(|scope| {
            let leader = scope.spawn(|| {
                combiner.submit(1, 1, |_| {
                    entered.wait();
                    while lock(&combiner.queue).waiting.is_empty() {
                        std::thread::yield_now();
                    }
                    panic!("planted")
                })
            });
            entered.wait();
            assert_eq!(combiner.submit(2, 1, |group| group), Some(2), "the next one did not lead");
            assert!(leader.join().is_err());
        });
        assert_eq!(combiner.submit(3, 1, |group| group), Some(3));
    }
}
