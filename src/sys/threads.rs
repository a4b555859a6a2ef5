//! A thread on another processor.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Bytes of the thread's stack.
const STACK: usize = 256 << 10;

/// The processors that this thread may use besides the one that it is on; none if there are
/// none.
fn others() -> Option<libc::cpu_set_t> {
    // SAFETY: a set of processors is a bit field, for which all zeros are the empty set, and the
    // calls write to that alone. `CPU_CLR` ignores numbers beyond it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of_val(&set), &mut set) != 0 {
            return None;
        }
        libc::CPU_CLR(usize::try_from(libc::sched_getcpu()).ok()?, &mut set);
        (libc::CPU_COUNT(&set) > 0).then_some(set)
    }
}

/// Whether this thread may use more than one processor.
pub fn has_other_processors() -> bool {
    others().is_some()
}

/// What the thread does.
struct Job<F, T> {
    todo: Mutex<Option<F>>,
    begun: AtomicBool,
    done: Mutex<Option<thread::Result<T>>>,
}

/// Does two things at once, `other` in a thread on another processor; nothing of that if there
/// is none, or no thread can be started.
///
/// Which processor a new thread gets is the kernel's choice, and some let it wait behind the one
/// that has started it, to spare the others, for as long as that one has work: milliseconds.
pub fn beside<F, T, U>(other: F, own: impl FnOnce() -> U) -> (Option<T>, U)
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let job = Job {
        todo: Mutex::new(Some(other)),
        begun: AtomicBool::new(false),
        done: Mutex::new(None),
    };
    let Some(set) = others() else { return (None, own()) };
    // SAFETY: `job` lives, and is not moved, until the thread was joined, which happens when
    // `thread` goes, even if `own` panics; the thread refers to nothing else.
    let Some(thread) = (unsafe { Thread::start(run::<F, T>, (&raw const job).cast(), &set) })
    else {
        return (None, own());
    };
    let result = own();
    if !job.begun.load(Ordering::Relaxed) {
        // The others are busy, and this one is about to wait.
        thread.allow_all();
    }
    drop(thread);
    let done = job.done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    (done.map(|done| done.unwrap_or_else(|panic| resume_unwind(panic))), result)
}

extern "C" fn run<F: FnOnce() -> T, T>(job: *mut c_void) -> *mut c_void {
    // SAFETY: it is the job of `beside`, of the same types, which outlives this thread and is
    // shared in no other way than by its locks.
    let job = unsafe { &*job.cast_const().cast::<Job<F, T>>() };
    job.begun.store(true, Ordering::Relaxed);
    let todo = job.todo.lock().ok().and_then(|mut todo| todo.take());
    let done = todo.map(|todo| catch_unwind(AssertUnwindSafe(todo)));
    if let Ok(mut place) = job.done.lock() {
        *place = done;
    }
    ptr::null_mut()
}

/// A thread, joined when dropped.
struct Thread {
    id: libc::pthread_t,
    /// Not to be sent: it is joined by the thread that has started it.
    _here: PhantomData<*const ()>,
}

impl Thread {
    /// Starts a thread on these processors; none if that cannot be done.
    ///
    /// # Safety
    /// The function gets the argument, which must be good until the thread was joined.
    unsafe fn start(
        function: extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *const c_void,
        set: &libc::cpu_set_t,
    ) -> Option<Self> {
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        let attributes = attributes.as_mut_ptr();
        // SAFETY: the attributes are initialised by the first call, used only if that has worked,
        // and destroyed once; the set is as large as is said. The rest is the caller's promise.
        unsafe {
            if libc::pthread_attr_init(attributes) != 0 {
                return None;
            }
            let mut id = MaybeUninit::uninit();
            let started = libc::pthread_attr_setstacksize(attributes, STACK) == 0
                && libc::pthread_attr_setaffinity_np(attributes, size_of_val(set), set) == 0
                && libc::pthread_create(id.as_mut_ptr(), attributes, function, argument.cast_mut())
                    == 0;
            libc::pthread_attr_destroy(attributes);
            started.then(|| Self { id: id.assume_init(), _here: PhantomData })
        }
    }

    /// Lets it use every processor that this thread may use.
    fn allow_all(&self) {
        // SAFETY: the thread was not joined yet; all zeros are the empty set, which the first call
        // fills.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            if libc::sched_getaffinity(0, size_of_val(&set), &mut set) == 0 {
                libc::pthread_setaffinity_np(self.id, size_of_val(&set), &set);
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: it was started joinable and is joined here only.
        unsafe { libc::pthread_join(self.id, ptr::null_mut()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_are_done_and_answer() {
        let text = String::from("borrowed");
        let (other, own) = beside(|| text.len(), || &text[..3]);
        assert_eq!(own, "bor");
        assert_eq!(other, has_other_processors().then_some(8));
    }

    #[test]
    fn a_panic_of_either_comes_through_when_both_are_done() {
        if !has_other_processors() {
            return;
        }
        let done = AtomicBool::new(false);
        let own = || -> () { panic!("own") };
        let other = || {
            thread::sleep(std::time::Duration::from_millis(20));
            done.store(true, Ordering::Relaxed);
        };
        assert!(catch_unwind(AssertUnwindSafe(|| beside(other, own))).is_err());
        assert!(done.load(Ordering::Relaxed), "it was waited for");
        let other = || -> () { panic!("other") };
        assert!(catch_unwind(AssertUnwindSafe(|| beside(other, || ()))).is_err());
    }

    #[test]
    fn it_is_done_where_all_others_are_busy() {
        let end = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    while !end.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            for number in 0..20 {
                let (other, own) = beside(|| number, || number);
                assert_eq!(other.unwrap_or(number), own);
            }
            end.store(true, Ordering::Relaxed);
        });
    }
}
