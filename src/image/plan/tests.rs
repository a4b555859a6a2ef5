use super::*;
use crate::image::dump::Dump;
use crate::image::file::Image;
use crate::image::hazards::status::{ANON_PRIVATE, FILE_PRIVATE, STACK};
use crate::image::message::{
    Core, FdInfo, FloatX86, RegistersX86, Rseq, TaskCore, ThreadCore, ThreadInfoX86, Timers,
};
use crate::image::testing::{Region as Memory, images};

const WAKE: Wake = Wake { entry: 0x1_2000, stack: 0x1_8000 };

fn machine() -> ExtendedState {
    let mut places = vec![(0, 0); 20];
    places[2] = (576, 256);
    ExtendedState { size: 832, parts: 7, places }
}

fn core(stack: u64) -> Core {
    let mut registers = RegistersX86::new();
    registers.set_sp(stack);
    registers.set_ip(0x1_2345);
    registers.set_cs(0x33);
    registers.set_ss(0x2b);
    registers.set_fs_base(0x9999);
    registers.set_gs_base(0);
    let mut float = FloatX86::new();
    float.set_mxcsr(0x1f80);
    float.xsave.mut_or_insert_default().set_xstate_bv(7);
    float.xsave.mut_or_insert_default().ymmh_space = vec![0x7777; 64];
    let mut info = ThreadInfoX86::new();
    info.set_clear_tid_addr(0x1_8100);
    info.gpregs = Some(registers).into();
    info.fpregs = Some(float).into();
    let mut thread = ThreadCore::new();
    thread.set_futex_rla(0x1_8200);
    thread.set_futex_rla_len(24);
    thread.set_blk_sigset(0x10);
    thread.set_comm("worker".into());
    let mut task = TaskCore::new();
    task.set_task_state(1);
    task.set_comm("python3".into());
    let mut core = Core::new();
    core.set_mtype(1);
    core.thread_info = Some(info).into();
    core.thread_core = Some(thread).into();
    core.tc = Some(task).into();
    core
}

/// Code of a pack, data that is copied, the interpreter's own file, a stack; two threads.
fn dump() -> Dump {
    let region =
        |first, end, status, flags, prot, file| Memory { first, end, status, flags, prot, file };
    let regions = [
        region(0x10, 0x14, FILE_PRIVATE, 2, 5, 3),
        region(0x14, 0x20, ANON_PRIVATE, 0x22, 3, 0),
        region(0x30, 0x32, FILE_PRIVATE, 2, 5, 4),
        region(0x40, 0x50, ANON_PRIVATE | STACK, 0x122, 3, 0),
        region(0x60, 0x62, 1 << 12, 0x22, 1, 0),
        region(0x62, 0x64, 1 << 3, 0x22, 5, 0),
    ];
    let pages = [(0x18, [1; 4096]), (0x19, [2; 4096]), (0x4f, [3; 4096]), (0x62, [4; 4096])];
    let mut dump = Dump::read(images(&regions, &pages, &[(3, "pack:0"), (4, "/python")])).unwrap();
    dump.pstree.entries[0].threads.push(8);
    dump.cores.insert(7, Image { magic: 2, entries: vec![core(0x4_f000)] });
    dump.cores.insert(8, Image { magic: 2, entries: vec![core(0x1_f000)] });
    dump
}

fn compiled(change: impl FnOnce(&mut Dump)) -> Result<Plan, String> {
    let mut dump = dump();
    change(&mut dump);
    let size_of = |path: &str| (path == "/python").then_some(77);
    Plan::compile(&dump, WAKE, &machine(), &size_of).map_err(|unplannable| unplannable.0)
}

fn refused(change: impl FnOnce(&mut Dump)) -> String {
    compiled(change).unwrap_err()
}

#[test]
fn a_dump_becomes_a_plan() {
    let plan = compiled(|_| ()).unwrap();
    let sources: Vec<Source> = plan.regions.iter().map(|region| region.source).collect();
    assert_eq!(sources, [Source::Pack(0, 0), Source::Zeros, Source::File(0, 0), Source::Zeros]);
    assert_eq!(plan.files, [MappedFile { path: "/python".into(), size: 77 }]);
    let kernels = Provided { variables: (0x6_0000, 0x6_2000), code: (0x6_2000, 0x6_4000) };
    assert_eq!(plan.provided, Some(kernels));
    assert_eq!(plan.code_hash, *blake3::hash(&[4; 4096]).as_bytes());
    // The kernel's page is not copied, and the others know where they are.
    assert_eq!(
        plan.copies,
        [
            Run { address: 0x1_8000, pages: 1, slot: 0 },
            Run { address: 0x1_9000, pages: 1, slot: 1 },
            Run { address: 0x4_f000, pages: 1, slot: 2 },
        ]
    );
    assert_eq!(plan.main.storage, 0x9999);
    assert!(plan.main.frame.is_empty());
    assert_eq!(Plan::parse(&plan.to_bytes()).unwrap(), plan);
}

#[test]
fn code_is_mapped_with_what_is_read_around_it() {
    let piece = |start: u64, length: u64, protection: u32, at: u64| Region {
        start,
        length,
        protection,
        flags: 2,
        source: Source::Pack(0, at),
        advice: 0,
    };
    let apart = vec![
        piece(0x1000, 0x1000, 1, 0x9000),
        piece(0x3000, 0x1000, 3, 0x1000),
        piece(0x4000, 0x1000, 1, 0x2000),
        piece(0x5000, 0x2000, 5, 0x3000),
        piece(0x7000, 0x1000, 1, 0x5000),
        piece(0x8000, 0x1000, 3, 0x6000),
        piece(0x9000, 0x1000, 5, 0xb000),
    ];
    let merged = compile::with_their_code(apart.clone());
    let code = piece(0x4000, 0x4000, 5, 0x2000);
    assert_eq!(merged, [apart[0], apart[1], code, apart[5], apart[6]]);
}

#[test]
fn a_threads_registers_are_in_its_frame() {
    let plan = compiled(|_| ()).unwrap();
    let [thread] = &plan.threads[..] else { panic!("{:?}", plan.threads) };
    let word = |at: usize| u64::from_le_bytes(thread.frame[at..at + 8].try_into().unwrap());
    // Offsets of `struct rt_sigframe`: a return address, then `ucontext`.
    let (sp, ip, state, mask) =
        (word(8 + 40 + 120), word(8 + 40 + 128), word(8 + 40 + 184), word(frame::MASK));
    assert_eq!((sp, ip, mask), (0x1_f000, 0x1_2345, 0x10));
    assert_eq!(state % 64, 0);
    assert!(state + 832 + 4 <= sp - 128 && thread.frame_address + 440 <= state);
    let at = (state - thread.frame_address) as usize;
    assert_eq!(thread.frame[at + 24..at + 28], 0x1f80_u32.to_le_bytes(), "MXCSR");
    assert_eq!(word(at + 512), 7, "the parts that are there");
    assert_eq!(thread.frame[at + 576..at + 580], 0x7777_u32.to_le_bytes(), "the upper halves");
    assert_eq!(thread.frame[at + 832..], 0x4650_5845_u32.to_le_bytes());
    assert_eq!(thread.name, "worker");
    assert_eq!(thread.robust_list, (0x1_8200, 24));
}

#[test]
fn what_is_not_understood_is_refused() {
    fn thread(dump: &mut Dump) -> &mut ThreadCore {
        dump.cores.get_mut(&8).unwrap().entries[0].thread_core.mut_or_insert_default()
    }
    fn task(dump: &mut Dump) -> &mut TaskCore {
        dump.cores.get_mut(&7).unwrap().entries[0].tc.mut_or_insert_default()
    }
    let said = refused(|dump| dump.memory_mut().vmas[1].set_flags(0x2022));
    assert_eq!(said, "the region at 0x14000 has unknown flags (0x2022)");
    let said = refused(|dump| dump.memory_mut().vmas[1].set_madv(1 << 12));
    assert_eq!(said, "the region at 0x14000 has unknown advice (0x1000)");
    let said = refused(|dump| dump.memory_mut().vmas[1].set_prot(7));
    assert_eq!(said, "the region at 0x14000 is writable and executable");
    let said = refused(|dump| dump.memory_mut().vmas[1].set_status(1 | 1 << 8));
    assert_eq!(said, "the region at 0x14000 is of an unknown kind (0x101)");
    let said = refused(|dump| dump.memory_mut().vmas[2].set_shmid(99));
    assert_eq!(said, "the file at 0x30000 is not known");
    let said = refused(|dump| dump.memory_mut().vmas.truncate(5));
    assert_eq!(said, "it has half of what the kernel provides");
    let said = refused(|dump| {
        let mut descriptor = FdInfo::new();
        descriptor.set_fd(9);
        dump.descriptors.entries.push(descriptor);
    });
    assert_eq!(said, "descriptor 9 is open");
    let said = refused(|dump| {
        let mut timers = Timers::new();
        timers.posix.push(Vec::new());
        task(dump).timers = Some(timers).into();
    });
    assert_eq!(said, "it has timers");
    assert_eq!(refused(|dump| task(dump).set_child_subreaper(true)), "it adopts orphans");
    let said = refused(|dump| dump.memory_mut().set_thp_disabled(true));
    assert_eq!(said, "it wants no huge pages");
    let said = refused(|dump| thread(dump).set_seccomp_mode(2));
    assert_eq!(said, "a thread has given up system calls");
    let said = refused(|dump| {
        let mut rseq = Rseq::new();
        rseq.set_rseq_cs_pointer(8);
        thread(dump).rseq_entry = Some(rseq).into();
    });
    assert_eq!(said, "a thread is in a restartable sequence");
    let said = refused(|dump| {
        let info = &mut dump.cores.get_mut(&8).unwrap().entries[0].thread_info;
        let float = info.mut_or_insert_default().fpregs.mut_or_insert_default();
        float.xsave.mut_or_insert_default().set_xstate_bv(1 << 18);
    });
    assert_eq!(said, "a thread has registers that CRIU does not keep");
    let said = refused(|dump| {
        dump.cores.insert(8, Image { magic: 2, entries: vec![core(0x3_8000)] });
    });
    assert!(said.contains("a thread without a stack"), "{said}");
}

#[test]
fn a_plan_of_another_version_is_refused() {
    let mut bytes = compiled(|_| ()).unwrap().to_bytes();
    bytes[0] = 99;
    assert_eq!(Plan::parse(&bytes).unwrap_err().0, "its plan is of another version");
    assert_eq!(Plan::parse(&[]).unwrap_err().0, "its plan is of another version");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 2000,
        ..proptest::prelude::ProptestConfig::default()
    })]

    /// Whatever bytes of a plan are changed or missing: it is refused, or still makes sense.
    #[test]
    fn a_damaged_plan_is_refused_or_makes_sense(
        changes in proptest::collection::vec((0_usize..4096, 0_u8..=255), 1..4),
        length in 0_usize..4096,
    ) {
        let mut bytes = compiled(|_| ()).unwrap().to_bytes();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if length < bytes.len() {
            bytes.truncate(length);
        }
        if let Ok(plan) = Plan::parse(&bytes) {
            let mut end = 0;
            for region in &plan.regions {
                proptest::prop_assert!(region.start >= end && region.protection & 6 != 6);
                end = region.start + region.length;
            }
            proptest::prop_assert!(end <= END_OF_MEMORY);
            for run in &plan.copies {
                proptest::prop_assert!(plan.is_anonymous(run.address, run.address + run.pages * PAGE_SIZE));
            }
        }
    }
}
