//! Processes that use one store at once are killed at random moments.
//!
//! In rounds: in each, several commands run at the same time, and each is killed with
//! SIGKILL sooner or later. After each round no process of theirs may be left, the store
//! must be sound, and every image that it lists must be usable. `tests/crash` does the
//! same at every single operation, for one process at a time.

mod common;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::dice::{self, Dice};
use common::{Lab, Output, children, eventually, ground, processes_of};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// Commands at once, of which at least one on each processor.
const AT_ONCE: usize = 5;
/// One in so many commands is left alone, so that there is something to destroy.
const LEFT_ALONE: usize = 12;

/// Images that share memory; two names are of one recipe.
const RECIPES: [(&str, &str); 4] = [
    ("a", "import json"),
    ("b", "import json, bisect, heapq"),
    ("c", "import json, decimal"),
    ("d", "import json, bisect, heapq"),
];

const PROGRAM: &str = "import json; print(json.dumps([6 * 7]))";

/// How long a command takes when nobody kills it, as far as was seen, by its kind.
static TAKES: Mutex<BTreeMap<&str, Duration>> = Mutex::new(BTreeMap::new());

/// How many were killed, by kind.
static KILLED: Mutex<BTreeMap<&str, u32>> = Mutex::new(BTreeMap::new());

/// A command of some kind, by chance.
fn command(lab: &Lab, dice: &mut Dice) -> (&'static str, Command) {
    let (name, recipe) = RECIPES[dice.roll(RECIPES.len())];
    let pyimg = |arguments: &[&str]| {
        let mut command = common::pyimg(&lab.store);
        command.args(arguments);
        command
    };
    let build = |arguments: &[&str]| {
        let mut command = pyimg(&["build", "--name", name, recipe, "--python"]);
        command.arg(&lab.python.path).args(arguments);
        ("build", command)
    };
    match dice.roll(18) {
        0..3 => build(&["--force"]),
        3..5 => build(&[]),
        5 => build(&["--from", RECIPES[0].0]),
        6..10 => {
            let mut command = lab.pyrun_by(["auto", "criu"][dice.roll(2)]);
            command.args(["--image", name, "-c", PROGRAM]);
            ("run", command)
        }
        10..12 => ("rm", pyimg(&["rm", name])),
        12 => ("gc", pyimg(&["gc", "--max-size", "12MB"])),
        13 => ("gc", pyimg(&["gc", "--max-size", "20MB", "--unused-for", "1s"])),
        14..16 => ("gc", pyimg(&["gc", "--cold-after", "0s"])),
        16 => ("repair", pyimg(&["verify", "--repair"])),
        _ => ("verify", pyimg(&["verify", "--read-data"])),
    }
}

/// Whether a command was killed before its end; if it was not, it must have done what it
/// was for, or say why not.
fn one(lab: &Lab, mut dice: Dice) -> bool {
    let (kind, mut command) = command(lab, &mut dice);
    let takes = TAKES.lock().unwrap().get(kind).copied().unwrap_or(Duration::from_secs(2));
    // More often towards the end, where the store is written.
    let moment = takes.mul_f64((dice.roll(1200) as f64 / 1000.0).sqrt());
    let spare = dice.roll(LEFT_ALONE) == 0;
    let start = Instant::now();
    let output = common::run_while(command.stdin(Stdio::null()), |pid| {
        let ended = || start.elapsed() > moment || has_ended(pid);
        if !spare && eventually(ended) && !has_ended(pid) {
            kill(pid, Signal::SIGKILL).unwrap();
        }
    });
    if output.code() == -9 {
        *KILLED.lock().unwrap().entry(kind).or_default() += 1;
        return true;
    }
    let took = start.elapsed();
    let mut takes = TAKES.lock().unwrap();
    let takes = takes.entry(kind).or_default();
    *takes = takes.mul_f64(0.9).max(took);
    judge(kind, &output);
    false
}

/// Whether a child is a zombie that nobody has waited for.
fn has_ended(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z'))
}

/// What a command that was not killed may say.
fn judge(kind: &str, output: &Output) {
    let text = output.stderr_text();
    let fine = match kind {
        // Hit or miss, it is the same program.
        "run" => output.code() == 0 && output.stdout == b"[42]\n",
        "rm" => output.code() == 0 || text.contains("there is no image"),
        // Another build may have taken the name, or the recipe, meanwhile.
        "build" => {
            let refusals = [
                "is taken by the image",
                "is there already",
                "there is no image",
                "in this very moment",
            ];
            output.code() == 0 || refusals.iter().any(|refusal| text.contains(refusal))
        }
        _ => output.code() == 0,
    };
    assert!(fine, "{kind}: {}{text}", output.stdout_text());
}

#[test]
fn killed_at_random() {
    if !common::criu() {
        return;
    }
    let required = std::env::var("PYIMG_TEST_REQUIRE").is_ok_and(|what| what.contains("criu"));
    let wanted = if required || std::env::var_os("CI").is_some() { 1000 } else { 100 };
    // Whoever loses its parent becomes a child of ours, where it is seen.
    nix::sys::prctl::set_child_subreaper(true).unwrap();
    let mut dice = Dice(dice::seed());
    let lab = Lab::with(common::a_python(), &["--name", "a", RECIPES[0].1]);
    let (mut killed, mut rounds) = (0, 0);
    while killed < wanted {
        rounds += 1;
        let all: Vec<_> = (0..AT_ONCE).map(|_| Dice(dice.next())).collect();
        killed += std::thread::scope(|scope| {
            let all: Vec<_> = all.into_iter().map(|dice| scope.spawn(|| one(&lab, dice))).collect();
            all.into_iter().map(|one| usize::from(one.join().unwrap())).sum::<usize>()
        });
        nothing_runs(&lab);
        assert_eq!(lab.obstacle(), None, "in round {rounds}, after {killed} kills");
        ground().remove_leftovers();
    }
    println!("{killed} kills in {rounds} rounds: {:?}", KILLED.lock().unwrap());
    // Whatever is left of the dead goes with the next removal.
    let names = lab.names();
    if !names.is_empty() {
        common::run(common::pyimg(&lab.store).arg("rm").args(&names)).success();
    }
    for inner in ["images", "packs", "tmp"] {
        let left: Vec<_> = lab.store.join(inner).read_dir().unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// Waits until all that was started for the dead has ended too.
#[track_caller]
fn nothing_runs(lab: &Lab) {
    let ended = eventually(|| {
        while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(status) if status.pid().is_some())
        {
        }
        children().is_empty() && processes_of(&lab.store).is_empty()
    });
    assert!(ended, "{:?} {:?}", children(), processes_of(&lab.store));
}
