//! Ranking images that never were.

use super::*;
use crate::store::{Digest, ImageKey};

const MS: u64 = 1_000_000;

/// An image of so many megabytes; `times` is as in the index, with milliseconds.
fn candidate(name: &str, megabytes: u64, modules: &str, times: &str) -> Candidate {
    let times = times.split(',').filter(|line| !line.is_empty()).map(|line| {
        let (name, rest) = line.split_once(' ').unwrap();
        let (own, needs) = rest.split_once(' ').unwrap_or((rest, ""));
        format!("{name} {own}000000 {needs}").trim_end().to_owned() + "\n"
    });
    Candidate {
        id: ImageId::new([0; 32]),
        key: ImageKey::new([0; 32]),
        name: name.into(),
        interpreter: Digest::new([0; 32]),
        modules: modules.split(' ').map(Into::into).collect(),
        import_ns: 400 * MS,
        import_times: times.collect(),
        surroundings: String::new(),
        page_bytes: megabytes * 1_000_000,
    }
}

fn imports(modules: &str) -> Imported {
    let modules = modules.split(' ').map(Into::into).collect();
    Imported { modules, from: KnownFrom::Source }
}

fn ordered(candidates: Vec<Candidate>, modules: &str) -> Vec<Ranked> {
    let environment = [("MODE".into(), "one".into())];
    let directory = Path::new("/");
    let now = Surroundings { environment: &environment, directory, terminals: [true, false, true] };
    in_order(candidates, &imports(modules), now)
}

/// The images in order: those that are of use by name, others with the reason.
fn ranked(candidates: Vec<Candidate>, modules: &str) -> String {
    let images = ordered(candidates, modules);
    let said = images.iter().map(|image| match &image.against {
        None => image.name.clone(),
        Some(miss) => format!("{} ({})", image.name, miss.code()),
    });
    said.collect::<Vec<_>>().join(" ")
}

fn numpy() -> Candidate {
    candidate("numpy", 142, "numpy re json", "numpy 90 re,re 5,json 3")
}

fn pandas() -> Candidate {
    let times = "numpy 90 re,pandas 300 numpy pytz,pytz 4,re 5,json 3";
    candidate("pandas", 600, "numpy pandas pytz re json", times)
}

fn small() -> Candidate {
    candidate("small", 10, "re json", "re 5,json 3")
}

#[test]
fn the_one_that_saves_most_wins() {
    let all = || vec![pandas(), small(), numpy()];
    assert_eq!(ranked(all(), "pandas"), "pandas small (not-covered) numpy (not-covered)");
    assert_eq!(ranked(all(), "numpy sys"), "numpy pandas small (not-covered)");
    // What all have comes cheapest from the smallest.
    assert_eq!(ranked(all(), "re"), "small numpy pandas (not-worth-it)");
    // Of many modules that take little the sum counts, not the number.
    let many = candidate("many", 142, "a b c d re", "a 1,b 1,c 1,d 1,re 5");
    assert_eq!(ranked(vec![many, numpy()], "a b c d numpy"), "numpy many");
}

#[test]
fn the_least_time_of_a_module_counts_for_all_images() {
    let noisy = candidate("noisy", 600, "numpy re", "numpy 900 re,re 50");
    let images = ordered(vec![noisy, numpy()], "numpy");
    let saves: Vec<_> = images.iter().map(|image| (&*image.name, image.saves_ns)).collect();
    assert_eq!(saves, [("numpy", Some(95 * MS)), ("noisy", Some(95 * MS))]);
}

#[test]
fn what_costs_more_than_it_saves_is_not_used() {
    assert_eq!(ranked(vec![pandas()], "re"), "pandas (not-worth-it)");
    assert_eq!(ranked(vec![pandas()], "re pytz"), "pandas");
    assert_eq!(ranked(vec![pandas()], "sys"), "pandas (not-covered)");
    let image = ordered(vec![pandas()], "re").remove(0);
    let miss = Miss::NotWorthIt { saves: 5 * MS, restore_ns: 5_500_000 };
    assert_eq!((image.saves_ns, image.against), (Some(5 * MS), Some(miss)));
}

#[test]
fn what_is_for_other_surroundings_comes_after_what_is_not() {
    let on = |name: &str, surroundings: &str| Candidate {
        name: name.into(),
        surroundings: surroundings.into(),
        ..numpy()
    };
    let (here, elsewhere) = (r#"{"terminals":{"0":true}}"#, r#"{"terminals":{"1":true}}"#);
    let all = || vec![on("elsewhere", elsewhere), on("here", here), small()];
    assert_eq!(ranked(all(), "numpy"), "here elsewhere (terminal-differs) small (not-covered)");
    // An image that would not help anywhere is told to be just that.
    assert_eq!(ranked(vec![on("elsewhere", elsewhere)], "sys"), "elsewhere (not-covered)");
    let mode = |value: &str| {
        let hash = blake3::hash(value.as_bytes()).to_hex();
        format!(r#"{{"read":{{"MODE":"{}"}}}}"#, &hash[..32])
    };
    let two = vec![on("two", &mode("two")), on("one", &mode("one"))];
    assert_eq!(ranked(two, "numpy"), "one two (variable-differs)");
    assert_eq!(ranked(vec![on("odd", "?")], "numpy"), "odd (evidence-version)");
}

#[test]
fn without_measured_times_each_module_has_its_share() {
    let old = |candidate: Candidate| Candidate { import_times: String::new(), ..candidate };
    let all = || vec![old(pandas()), old(small()), old(numpy())];
    assert_eq!(ranked(all(), "numpy"), "numpy pandas small (not-covered)");
    assert_eq!(ranked(all(), "numpy pandas"), "pandas numpy small (not-covered)");
    // Nothing is held against an image of which too little is known.
    let much = Candidate { import_ns: 1, ..old(pandas()) };
    assert_eq!(ranked(vec![much], "re"), "pandas");
    assert_eq!(ordered(vec![old(numpy())], "numpy")[0].saves_ns, None);
    let nothing = Candidate { modules: vec![], ..old(numpy()) };
    assert_eq!(ranked(vec![nothing], "re"), "numpy (not-covered)");
}

#[test]
fn restoring_costs_by_size() {
    assert_eq!(restore_ns(0), 0);
    assert_eq!(restore_ns(10_000_000), 0);
    assert_eq!(restore_ns(265_000_000), 0);
    assert_eq!(restore_ns(600_000_000), 5_500_000);
    assert!(restore_ns(u64::MAX) > MS);
}

#[test]
fn what_was_seen_counts_besides_what_the_source_says() {
    let names = |text: &str| text.split(' ').map(String::from).collect::<BTreeSet<_>>();
    let source = |imports| Source {
        form: super::super::source::Form::File,
        first_path: None,
        imports,
        eager: Default::default(),
        is_alone: true,
    };
    let said = |remembered: Option<&str>, read: Option<&str>| {
        let remembered = remembered.map(names);
        let imported = imported(remembered.as_ref(), &source(read.map(names)))?;
        Some((imported.modules.into_iter().collect::<Vec<_>>().join(" "), imported.from))
    };
    let (seen, read) = (KnownFrom::LastRun, KnownFrom::Source);
    assert_eq!(said(Some("a b"), Some("c")), Some(("a b c".into(), seen)));
    assert_eq!(said(Some("a b"), None), Some(("a b".into(), seen)));
    assert_eq!(said(None, Some("c")), Some(("c".into(), read)));
    assert_eq!(said(None, None), None);
}
