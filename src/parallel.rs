//! Doing the same to many things, on all processors.
//!
//! For work that waits for the kernel or counts bytes. It starts threads, so it has no place
//! before a restore or beside a dump.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Below so many things one thread does them all.
const FEW: usize = 64;

/// Maps a slice in as many consecutive parts as there are processors; each part is given
/// to `map` once, so that it can keep something from one thing to the next. The results
/// come in order.
pub fn by_parts<T: Sync, R: Send>(all: &[T], map: impl Fn(&[T]) -> Vec<R> + Sync) -> Vec<R> {
    let threads = processors();
    if all.len() < FEW || threads == 1 {
        return map(all);
    }
    thread::scope(|scope| {
        let map = &map;
        let parts: Vec<_> = all
            .chunks(all.len().div_ceil(threads))
            .map(|part| scope.spawn(move || map(part)))
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Maps each thing for itself, for things of which some take much longer than others:
/// whichever processor is free takes the next one. The results come in order.
pub fn one_by_one<T: Sync, R: Send>(all: &[T], map: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(thing) = all.get(number) else { return done };
            done.push((number, map(thing)));
        }
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..processors().min(all.len())).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_stays() {
        for count in [0, 1, 63, 64, 65, 1000] {
            let all: Vec<usize> = (0..count).collect();
            let doubled = by_parts(&all, |part| part.iter().map(|n| n * 2).collect());
            assert_eq!(doubled, all.iter().map(|n| n * 2).collect::<Vec<_>>());
            assert_eq!(one_by_one(&all, |n| n * 2), doubled);
        }
    }
}
