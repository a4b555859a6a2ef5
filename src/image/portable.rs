//! Takes out of a dump what belongs to the moment and the user of the dump.
//!
//! A restored program must have the limits, the scheduling and the bounding set of
//! whoever runs it, not of whoever built the image. Where CRIU's images say nothing,
//! the restored process inherits from CRIU, and CRIU inherits from its caller.

use crate::image::dump::Dump;
use crate::image::message::Rlimits;

/// Removes resource limits, scheduling, the OOM score and the login uid, and opens the
/// capability bounding set, in every thread.
///
/// A bounding set of all ones makes CRIU drop nothing from the set that the caller
/// has; capabilities can only be dropped from it, never added.
pub fn make_portable(dump: &mut Dump) {
    for core in dump.cores.values_mut().flat_map(|image| &mut image.entries) {
        if let Some(task) = core.tc.as_mut() {
            // An absent message would make CRIU look for a file of an older format.
            task.rlimits = Some(Rlimits::new()).into();
            task.loginuid = None;
            task.oom_score_adj = None;
        }
        if let Some(thread) = core.thread_core.as_mut() {
            thread.sched_nice = None;
            thread.sched_policy = None;
            thread.sched_prio = None;
            if let Some(creds) = thread.creds.as_mut() {
                creds.cap_bnd.fill(u32::MAX);
            }
        }
    }
}
