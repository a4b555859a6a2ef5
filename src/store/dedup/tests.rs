//! What becomes of runs of pages, by their hashes alone.

use super::*;

/// The hash of a page that is told from others by `number`; 0 is zeroes.
fn hash(number: u32) -> PageHash {
    match number {
        0 => pages::zero_hash(),
        _ => blake3::hash(&number.to_le_bytes()).into(),
    }
}

fn run(numbers: impl IntoIterator<Item = u32>) -> Vec<PageHash> {
    numbers.into_iter().map(hash).collect()
}

/// What is known when just this run has been stored.
fn stored(numbers: impl IntoIterator<Item = u32>) -> (Known, Vec<PageHash>) {
    stored_runs(&[run(numbers)])
}

fn stored_runs(runs: &[Vec<PageHash>]) -> (Known, Vec<PageHash>) {
    let mut first = Known::default();
    for run in runs {
        first.place(run, |_| None, |_, _, _| Look::Same);
    }
    let (hashes, anchors) = first.new_pack();
    let anchors: Vec<_> =
        anchors.iter().map(|slot| (*slot, hashes[*slot as usize].prefix())).collect();
    let mut known = Known::default();
    known.add_pack(&anchors);
    (known, hashes.to_vec())
}

fn place(known: &mut Known, pack: &[PageHash], numbers: Vec<u32>) -> Vec<Piece> {
    known.place(&run(numbers), |_| Some(pack.to_vec()), |_, _, _| Look::Same)
}

fn known(slot: u32, pages: usize) -> Piece {
    Piece::Known { pack: Some(0), slot, pages }
}

#[test]
fn the_same_run_again_is_one_piece() {
    for length in [16, 17, 100, 3000] {
        let (mut table, pack) = stored(1..=length);
        let pieces = place(&mut table, &pack, (1..=length).collect());
        assert_eq!(pieces, [known(0, length as usize)]);
    }
}

/// Places a run after another one, by which the pack is in use.
fn place_next(numbers: Vec<u32>) -> Vec<Piece> {
    let (mut table, pack) = stored((1..=100).chain(900..=920));
    assert_eq!(place(&mut table, &pack, (900..=920).collect()), [known(100, 21)]);
    place(&mut table, &pack, numbers)
}

#[test]
fn any_four_pages_in_a_row_are_found() {
    for start in 1..=96 {
        let numbers = (1000..1003).chain(start..start + 4).chain(1003..1006).collect();
        let new = |slot| Piece::New { slot, pages: 3 };
        let pieces = [new(0), known(start - 1, 4), new(3)];
        assert_eq!(place_next(numbers), pieces, "from {start}");
    }
}

#[test]
fn three_in_a_row_are_stored_again() {
    let numbers = [999].into_iter().chain(1..=3).chain([998]).collect();
    assert_eq!(place_next(numbers), [Piece::New { slot: 0, pages: 5 }]);
}

#[test]
fn another_pack_is_opened_for_sixteen_pages_and_not_for_less() {
    let (mut table, pack) = stored(1..=100);
    let first = |last| [999].into_iter().chain(1..=last).collect();
    assert_eq!(place(&mut table, &pack, first(15)), [Piece::New { slot: 0, pages: 16 }]);
    let (mut table, pack) = stored(1..=100);
    let pieces = [Piece::New { slot: 0, pages: 1 }, known(0, 16)];
    assert_eq!(place(&mut table, &pack, first(16)), pieces);
}

#[test]
fn an_image_of_many_pieces_uses_long_stretches_only() {
    // Of each ten known pages one is new, then of each forty.
    let (mut table, pack) = stored(1..=20_000);
    place(&mut table, &pack, (19_950..=20_000).collect());
    let with_new = |range: std::ops::Range<u32>, each: u32| {
        range.map(|page| if page % each == 0 { 100_000 + page } else { page }).collect()
    };
    let small: Vec<Piece> = place(&mut table, &pack, with_new(1..10_000, 10));
    // As many as are allowed; all would be 1999.
    assert!((600..640).contains(&small.len()), "{}", small.len());
    let more = place(&mut table, &pack, with_new(10_001..20_000, 40));
    assert_eq!(more.len(), 9_999_usize.div_ceil(20) - 1);
    // A smaller image has room for all of its pieces.
    let (mut table, pack) = stored(1..=20_000);
    let opener = place(&mut table, &pack, (15_000..15_100).collect());
    assert_eq!(opener, [known(14_999, 100)]);
    assert_eq!(place(&mut table, &pack, with_new(1..1000, 10)).len(), 199);
}

#[test]
fn a_short_rest_is_used_where_it_costs_no_piece() {
    let (mut table, pack) = stored_runs(&[run(1..=40), run(50..=90)]);
    // After the first stretch nothing but three known pages is left.
    let pieces = place(&mut table, &pack, (1..=20).chain(50..=52).collect());
    assert_eq!(pieces, [known(0, 20), known(40, 3)]);
}

#[test]
fn many_zeroes_are_not_stored_and_few_are() {
    let (mut table, pack) = stored([1]);
    let zero = |pages| Piece::Zero { pages };
    let new = |slot, pages| Piece::New { slot, pages };
    let mut test = |numbers: &[u32]| place(&mut table, &pack, numbers.to_vec());
    assert_eq!(test(&[0; 3]), [zero(3)]);
    assert_eq!(test(&[0; 16]), [zero(16)]);
    assert_eq!(test(&[&[7][..], &[0; 16], &[8]].concat()), [new(0, 1), zero(16), new(1, 1)]);
    assert_eq!(test(&[&[9][..], &[0; 15], &[10]].concat()), [new(2, 17)]);
    assert_eq!(test(&[]), []);
}

#[test]
fn a_run_that_begins_with_zeroes_is_found_again() {
    let numbers: Vec<_> = [0, 0, 0].into_iter().chain(5..=30).collect();
    let (mut table, pack) = stored(numbers.clone());
    assert_eq!(place(&mut table, &pack, numbers), [known(0, 29)]);
}

#[test]
fn new_pages_are_found_by_later_ones() {
    let mut table = Known::default();
    let none = |_| None;
    assert_eq!(
        table.place(&run(1..=20), none, |_, _, _| Look::Same),
        [Piece::New { slot: 0, pages: 20 }]
    );
    let again = Piece::Known { pack: None, slot: 2, pages: 18 };
    assert_eq!(table.place(&run(3..=20), none, |_, _, _| Look::Same), [again]);
    // But few of them are stored again, rather than mapped again and again.
    let table_of_a_library: Vec<_> = (0..10).flat_map(|part| [3, 4, 5, 6, 50 + part]).collect();
    let pieces = table.place(&run(table_of_a_library), none, |_, _, _| Look::Same);
    assert_eq!(pieces, [Piece::New { slot: 20, pages: 50 }]);
    // Within one run too, once enough pages lie between.
    let long: Vec<_> = (100..1200).chain(100..1200).collect();
    let pieces = table.place(&run(long), none, |_, _, _| Look::Same);
    let stored: usize = pieces.iter().map(new_pages).sum();
    assert_eq!(stored, 1100);
}

fn new_pages(piece: &Piece) -> usize {
    match piece {
        Piece::New { pages, .. } => *pages,
        _ => 0,
    }
}

#[test]
fn the_longest_of_several_places_is_taken() {
    let short = run((1..=20).chain(500..=520));
    let long = run((1..=64).chain(600..=610));
    let mut table = Known::default();
    // One pack holds them in two runs, so that both begin with an anchor.
    table.add_pack(&[(0, short[0].prefix()), (41, long[0].prefix())]);
    let pack = [short, long].concat();
    assert_eq!(place(&mut table, &pack, (1..=64).collect()), [known(41, 64)]);
}

#[test]
fn hints_are_not_believed() {
    let (mut table, _) = stored(1..=20);
    // The pack turns out to hold other pages, or cannot be read at all.
    let other = run(101..=120);
    assert_eq!(
        place(&mut table, &other, (1..=20).collect()).iter().map(new_pages).sum::<usize>(),
        20
    );
    let (mut table, _) = stored(1..=20);
    let mut asked = 0;
    let unreadable = |_| {
        asked += 1;
        None
    };
    assert_eq!(
        table.place(&run(1..=20), unreadable, |_, _, _| Look::Same),
        [Piece::New { slot: 0, pages: 20 }]
    );
    assert_eq!(asked, 1);
}
