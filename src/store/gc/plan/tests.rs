//! What is decided, from surveys made by hand.

use super::*;
use crate::store::gc::survey::{ImageUse, PackUse};
use crate::store::ids::Digest;
use crate::store::{ImageRecord, PackInfo, Tier};

const DAY: u64 = 24 * 3600;
const NOW: i64 = 1_000 * DAY as i64 * 1_000_000_000;
const P: u64 = PAGE as u64;

fn days(days: u64) -> Duration {
    Duration::from_secs(days * DAY)
}

/// A survey to be filled.
#[derive(Default)]
struct World {
    survey: Survey,
}

impl World {
    /// An image that was used so many days ago; its files take a page, and it uses so many
    /// pages of these packs.
    fn image(&mut self, name: &str, idle: u64, packs: &[(usize, u64)]) -> &mut ImageUse {
        let hash = *blake3::hash(name.as_bytes()).as_bytes();
        let text = String::new;
        let record = ImageRecord {
            key: ImageKey::new(hash),
            name: name.into(),
            python: text(),
            executable: text(),
            real_executable: text(),
            interpreter: Digest::new(hash),
            kernel: text(),
            glibc: text(),
            cpu: text(),
            flags: text(),
            python_env: text(),
            recipe: text(),
            modules: Vec::new(),
            import_ns: 0,
            import_times: text(),
            criu: text(),
            surroundings: text(),
        };
        let image = Image {
            id: ImageId::new(hash),
            record,
            created_ns: NOW - 900 * DAY as i64 * 1_000_000_000,
            page_bytes: 0,
            new_bytes: 0,
            file_bytes: 0,
            pinned: false,
            tier: Tier::Raw,
            hits: 1,
            last_used_ns: Some(NOW - (idle * DAY) as i64 * 1_000_000_000),
        };
        let packs = packs.iter().map(|(pack, pages)| (*pack, Some(*pages))).collect();
        self.survey.images.push(ImageUse { image, bytes: P, packs });
        self.survey.images.last_mut().unwrap()
    }

    /// A pack of so many pages, all of them on disk; its tables take a page.
    fn pack(&mut self, pages: u64) -> usize {
        let number = self.survey.packs.len();
        let (id, bytes) = (PackId::new([number as u8; 32]), (pages + 2) * P);
        self.survey.packs.push(PackUse { id, pages, size: bytes, bytes, cold: false });
        number
    }

    fn plan(&self, limits: Limits) -> Plan {
        let none = vec![None; self.survey.images.len()];
        Plan::new(&self.survey, &none, &limits, None, |_, _| panic!("no manifest is needed"))
    }
}

const FREE: Limits = Limits { now_ns: NOW, max_bytes: None, unused_for: None, cold_after: None };

fn names(plan: &Plan) -> Vec<&str> {
    plan.removals.iter().map(|removal| removal.image.record.name.as_str()).collect()
}

#[test]
fn without_limits_nothing_goes() {
    let mut world = World::default();
    let pack = world.pack(100);
    world.image("old", 800, &[(pack, 100)]);
    let plan = world.plan(FREE);
    assert!(plan.is_empty());
    assert_eq!((plan.bytes_before, plan.bytes_after), (103 * P, 103 * P));
}

#[test]
fn what_is_unused_for_long_goes_with_its_packs() {
    let mut world = World::default();
    let (own, shared) = (world.pack(100), world.pack(50));
    world.image("old", 40, &[(own, 100), (shared, 20)]);
    world.image("new", 3, &[(shared, 50)]);
    let never = world.image("never", 0, &[(shared, 50)]);
    (never.image.last_used_ns, never.image.hits) = (None, 0);
    let plan = world.plan(Limits { unused_for: Some(days(30)), ..FREE });
    assert_eq!(names(&plan), ["never", "old"], "the longest unused first");
    assert_eq!(plan.removals[0].reason, Reason::Unused(days(900)), "made counts as used");
    assert_eq!(plan.removals[0].bytes, P);
    assert_eq!(plan.removals[1].reason, Reason::Unused(days(40)));
    assert_eq!(plan.removals[1].bytes, 103 * P);
    assert_eq!((plan.bytes_before, plan.bytes_after), (157 * P, 53 * P));
}

#[test]
fn stale_is_said_before_unused() {
    let mut world = World::default();
    world.image("a", 40, &[]);
    world.image("b", 1, &[]);
    let limits = Limits { unused_for: Some(days(30)), ..FREE };
    let why = |why: &str| Some(why.to_owned());
    let plan = Plan::new(&world.survey, &[why("x"), why("y")], &limits, None, |_, _| None);
    let reasons: Vec<_> = plan.removals.iter().map(|removal| removal.reason.clone()).collect();
    assert_eq!(reasons, [Reason::Stale("x".into()), Reason::Stale("y".into())]);
}

#[test]
fn the_least_recently_used_make_room_until_the_rest_fits() {
    let mut world = World::default();
    for (name, idle) in [("a", 2), ("b", 9), ("c", 5), ("d", 1)] {
        let pack = world.pack(97);
        world.image(name, idle, &[(pack, 97)]);
    }
    let removed = |max_bytes| {
        let plan = world.plan(Limits { max_bytes: Some(max_bytes), ..FREE });
        assert!(plan.bytes_after <= max_bytes);
        names(&plan).join(" ")
    };
    assert_eq!(removed(400 * P), "");
    assert_eq!(removed(400 * P - 1), "b");
    assert_eq!(removed(200 * P), "b c");
    assert_eq!(removed(0), "b c a d");
}

#[test]
fn pinned_and_spared_images_stay_always() {
    let mut world = World::default();
    let pack = world.pack(100);
    world.image("pinned", 900, &[(pack, 100)]).image.pinned = true;
    world.image("built", 500, &[]);
    world.image("other", 0, &[]);
    let limits =
        Limits { max_bytes: Some(0), unused_for: Some(days(1)), cold_after: Some(days(1)), ..FREE };
    let stale = vec![Some("changed".to_owned()); 3];
    let spared = world.survey.images[1].image.record.key;
    let plan = Plan::new(&world.survey, &stale, &limits, Some(&spared), |_, _| None);
    assert_eq!(names(&plan), ["other"]);
    assert!(plan.freezes.is_empty(), "nor do they become cold");
}

#[test]
fn a_pack_becomes_cold_when_nobody_warm_uses_it() {
    let mut world = World::default();
    let (own, shared) = (world.pack(298), world.pack(50));
    world.image("idle", 10, &[(own, 298), (shared, 30)]);
    world.image("busy", 1, &[(shared, 50)]);
    let limits = Limits { cold_after: Some(days(7)), ..FREE };
    let plan = world.plan(limits);
    assert_eq!(
        plan.freezes,
        [Freeze { pack: world.survey.packs[own].id, size: 300 * P, images: vec![0] }]
    );
    let colder: Vec<_> = plan.colder.iter().map(|image| image.record.name.as_str()).collect();
    assert_eq!(colder, ["idle"]);
    assert_eq!(plan.bytes_after, (100 + 52 + 2) * P);
    // That is room enough: nobody has to go for it.
    let plan = world.plan(Limits { max_bytes: Some(plan.bytes_after), ..limits });
    assert_eq!(names(&plan), [""; 0]);
    // What is cold already is left.
    world.survey.packs[own].cold = true;
    assert!(world.plan(limits).freezes.is_empty());
}

#[test]
fn a_mostly_dead_pack_is_written_anew() {
    let mut world = World::default();
    let pack = world.pack(100);
    world.image("old", 40, &[(pack, 100)]);
    world.image("new", 1, &[(pack, 30)]);
    assert!(world.plan(FREE).repacks.is_empty());
    let plan = world.plan(Limits { unused_for: Some(days(30)), ..FREE });
    let id = world.survey.packs[pack].id;
    assert_eq!(plan.repacks, [Repack { pack: id, used: 30, stored: 100 }]);
    assert_eq!(plan.repacks[0].bytes(), 70 * P);
    assert_eq!(plan.bytes_after, (1 + 2 + 30) * P);
    // The room that it makes counts: "new" need not go.
    let plan = world.plan(Limits { max_bytes: Some(33 * P), ..FREE });
    assert_eq!(names(&plan), ["old"]);
    // Once done it is not done again.
    world.survey.packs[pack].bytes = 32 * P;
    world.survey.images.remove(0);
    assert!(world.plan(FREE).repacks.is_empty());
    // Half is not mostly, and few pages are not worth it.
    world.survey.packs[pack].bytes = 62 * P;
    assert!(world.plan(FREE).repacks.is_empty());
    world.survey.packs[pack].bytes = 17 * P;
    world.survey.images[0].packs[0].1 = Some(1);
    assert!(world.plan(FREE).repacks.is_empty());
}

#[test]
fn manifests_are_read_only_where_the_index_cannot_tell() {
    let mut world = World::default();
    let pack = world.pack(100);
    world.image("a", 1, &[(pack, 30)]);
    world.image("b", 1, &[(pack, 30)]);
    let plan = |world: &World, used: Option<u64>| {
        let mut asked = 0;
        let plan = Plan::new(&world.survey, &[], &FREE, None, |_, images| {
            asked += images.len();
            used
        });
        (asked, plan.repacks.len())
    };
    // Together they may use 30 pages or 60.
    assert_eq!(plan(&world, Some(40)), (2, 1));
    assert_eq!(plan(&world, Some(60)), (2, 0));
    assert_eq!(plan(&world, None), (2, 0), "what a damaged image uses is not known");
    world.survey.images[0].packs[0].1 = None;
    assert_eq!(plan(&world, Some(40)), (2, 1));
    world.survey.images[1].packs[0].1 = Some(50);
    assert_eq!(plan(&world, Some(40)), (0, 0), "one alone uses half");
}

#[test]
fn a_clock_that_was_set_back_removes_nothing() {
    let mut world = World::default();
    world.image("a", 0, &[]).image.last_used_ns = Some(i64::MAX);
    assert!(world.plan(Limits { unused_for: Some(days(1)), ..FREE }).is_empty());
}

#[test]
fn holes_are_not_stored_pages() {
    let pages = 100;
    let info = PackInfo { id: PackId::new([0; 32]), pages, bytes: 102 * P, modified_ns: 0 };
    let pack = |bytes| PackUse { id: info.id, pages, size: info.bytes, bytes, cold: false };
    assert_eq!(pack(102 * P).stored(), 100);
    assert_eq!(pack(42 * P).stored(), 40);
    assert_eq!(pack(0).stored(), 0);
    assert_eq!(pack(999 * P).stored(), 100, "file systems may set aside more");
}
