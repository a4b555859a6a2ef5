//! How long the phases of a build took, for whoever wants to know what it costs.

use std::cell::RefCell;
use std::time::Instant;

use serde::Serialize;

use crate::capture::Phase;
use crate::ui::Progress;

/// Shows the phases, and measures them.
pub(super) struct Stopwatch<'a> {
    progress: &'a dyn Progress,
    begun: RefCell<Vec<(Phase, Instant)>>,
}

impl<'a> Stopwatch<'a> {
    pub fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, begun: RefCell::default() }
    }

    /// As [`Progress::phase`].
    pub fn phase(&self, phase: Phase) {
        let mut begun = self.begun.borrow_mut();
        if begun.last().is_none_or(|(last, _)| *last != phase) {
            begun.push((phase, Instant::now()));
        }
        self.progress.phase(phase);
    }

    /// The last phase has ended.
    pub fn stop(self) -> Phases {
        let begun = self.begun.into_inner();
        let ends = begun.iter().skip(1).map(|(_, at)| *at).chain([Instant::now()]);
        let mut phases = Phases::default();
        for ((phase, at), end) in begun.iter().zip(ends) {
            *phases.of(*phase) += (end - *at).as_secs_f64() * 1e3;
        }
        phases
    }
}

/// Milliseconds that each phase took.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Phases {
    /// Until the interpreter had been started, or restored from the image to grow from.
    starting: f64,
    /// Its own start, the recipe, and what is to be known of the process.
    importing: f64,
    /// CRIU's.
    dumping: f64,
    /// Until the image was in the store, durably.
    storing: f64,
}

impl Phases {
    fn of(&mut self, phase: Phase) -> &mut f64 {
        match phase {
            Phase::Starting => &mut self.starting,
            Phase::Importing => &mut self.importing,
            Phase::Dumping => &mut self.dumping,
            Phase::Storing => &mut self.storing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Nobody;

    impl Progress for Nobody {
        fn phase(&self, _: Phase) {}
    }

    #[test]
    fn each_phase_has_its_time() {
        let watch = Stopwatch::new(&Nobody);
        watch.phase(Phase::Importing);
        std::thread::sleep(Duration::from_millis(3));
        watch.phase(Phase::Importing);
        watch.phase(Phase::Storing);
        std::thread::sleep(Duration::from_millis(2));
        let phases = watch.stop();
        assert!(phases.importing >= 3.0 && phases.storing >= 2.0, "{phases:?}");
        assert_eq!((phases.starting, phases.dumping), (0.0, 0.0));
    }
}
