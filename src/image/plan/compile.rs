//! From a dump to a plan: what is mapped where, and everything else that a process may have.
//!
//! What a run would lose of the process is refused here, field by field of CRIU's messages: what
//! the park library brings back itself (signal actions), what is the caller's anyway (limits,
//! credentials, scheduling), and nothing more may be there.

use std::ops::Range;

use super::{
    Bounds, EXECUTE, ExtendedState, MappedFile, Plan, Provided, READ, Region, Run, Source, Thread,
    Unplannable, VERSION, WRITE, Wake, frame,
};
use crate::image::dump::{self, Dump};
use crate::image::hazards::{WIPE_ON_FORK, status};
use crate::image::message::{Core, Vma};

/// `status` bits of CRIU's `vma_entry`: what the kernel provides (`criu/include/image.h`).
const VSYSCALL: u32 = 1 << 2;
const VDSO: u32 = 1 << 3;
const VVAR: u32 = 1 << 12;
/// ... and a shared mapping of a file.
const FILE_SHARED: u32 = 1 << 7;
/// `MAP_SHARED`, `MAP_PRIVATE`, `MAP_ANONYMOUS`, `MAP_GROWSDOWN` of `mmap(2)`.
const MAP_SHARED: u32 = 0x01;
const MAP_PRIVATE: u32 = 0x02;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_GROWSDOWN: u32 = 0x100;
/// Further flags that change nothing of what is seen: `MAP_NORESERVE`, `MAP_STACK`,
/// `MAP_DENYWRITE`.
const HARMLESS_FLAGS: u32 = 0x4000 | 0x2_0000 | 0x800;
/// Advice that is given anew (`madvise(2)`, one bit each): MADV_DONTFORK (10),
/// MADV_HUGEPAGE (14), MADV_NOHUGEPAGE (15), MADV_DONTDUMP (16), MADV_WIPEONFORK (18).
const KNOWN_ADVICE: u64 = 1 << 10 | 1 << 14 | 1 << 15 | 1 << 16 | WIPE_ON_FORK;
/// `FD_TYPES__UNIXSK` of CRIU's `fdinfo.proto`: of these a parked process has only the socket on
/// which it waits.
const UNIX_SOCKET: u32 = 5;

impl Plan {
    /// Compiles a dump that is in mapping form.
    ///
    /// # Errors
    /// When there is something in it that a run could not bring back by itself.
    pub fn compile(
        dump: &Dump,
        wake: Wake,
        machine: &ExtendedState,
        size_of: &dyn Fn(&str) -> Option<u64>,
    ) -> Result<Self, Unplannable> {
        let [main, others @ ..] = dump.threads() else {
            return Err(Unplannable("it has no thread".into()));
        };
        let core = |id: &u32| &dump.cores[id].entries[0];
        check_descriptors(dump)?;
        check_process(core(main), dump)?;
        let regions = Regions::of(dump, size_of)?;
        let copies = dump.pagemap.runs().map_err(|error| Unplannable(error.what))?;
        let of_kernel =
            |run: &dump::Run| regions.kernels.iter().any(|own| own.contains(&run.address));
        let code = regions.provided.map_or(0..0, |provided| provided.code.0..provided.code.1);
        let mut hasher = blake3::Hasher::new();
        for run in copies.iter().filter(|run| code.contains(&run.address)) {
            hasher.update(dump.bytes_of(*run));
        }
        let plan = Self {
            version: VERSION,
            wake,
            main: thread(core(main), None)?,
            threads: others
                .iter()
                .map(|id| thread(core(id), Some(machine)))
                .collect::<Result<_, _>>()?,
            bounds: bounds(dump),
            executable: dump
                .regular_file(dump.memory().exe_file_id().into())
                .map(|file| file.name().to_owned())
                .unwrap_or_default(),
            provided: regions.provided,
            files: regions.files,
            regions: with_their_code(regions.regions),
            code_hash: hasher.finalize().into(),
            copies: copies.iter().filter(|run| !of_kernel(run)).copied().map(Run::from).collect(),
            extended_state: (machine.size, machine.parts),
        };
        plan.check().map(|()| plan)
    }
}

/// Beyond the standard descriptors, which are the caller's, and the socket nothing may be open.
fn check_descriptors(dump: &Dump) -> Result<(), Unplannable> {
    let further = |descriptor: &&crate::image::message::FdInfo| {
        descriptor.fd() > 2 && descriptor.type_() != UNIX_SOCKET
    };
    match dump.descriptors.entries.iter().find(further) {
        Some(descriptor) => Err(Unplannable(format!("descriptor {} is open", descriptor.fd()))),
        None => Ok(()),
    }
}

/// What a process may have besides memory and threads.
fn check_process(core: &Core, dump: &Dump) -> Result<(), Unplannable> {
    let task = core.tc.as_ref().ok_or_else(|| missing("process"))?;
    let runs = |timer: &crate::image::message::Itimer| {
        [timer.isec(), timer.iusec(), timer.vsec(), timer.vusec()] != [0; 4]
    };
    let timers = task.timers.as_ref().is_some_and(|timers| {
        let ordinary = [&timers.real, &timers.virt, &timers.prof];
        !timers.posix.is_empty() || ordinary.into_iter().flatten().any(runs)
    });
    let pending = |queue: Option<&crate::image::message::SignalQueue>| {
        queue.is_some_and(|queue| !queue.signals.is_empty())
    };
    let memory = dump.memory();
    for (is_so, what) in [
        (timers, "has timers"),
        (pending(task.signals_s.as_ref()), "has signals waiting for it"),
        (task.child_subreaper(), "adopts orphans"),
        (task.membarrier_registration_mask() != 0, "has registered memory barriers"),
        (memory.dumpable.is_some_and(|how| how != 1), "is not to leave core files"),
        (memory.thp_disabled(), "wants no huge pages"),
    ] {
        if is_so {
            return Err(Unplannable(format!("it {what}")));
        }
    }
    for thread in dump.cores.values().filter_map(|image| image.entries[0].thread_core.as_ref()) {
        let in_section = thread.rseq_entry.as_ref().is_some_and(|rseq| rseq.rseq_cs_pointer() != 0);
        for (is_so, what) in [
            (pending(thread.signals_p.as_ref()), "has signals waiting for it"),
            (thread.pdeath_sig() != 0, "ends with its parent"),
            (thread.seccomp_mode() != 0, "has given up system calls"),
            (in_section, "is in a restartable sequence"),
        ] {
            if is_so {
                return Err(Unplannable(format!("a thread {what}")));
            }
        }
    }
    Ok(())
}

fn missing(what: &str) -> Unplannable {
    Unplannable(format!("CRIU says nothing of its {what}"))
}

/// A thread; with its signal frame if the machine is given.
fn thread(core: &Core, machine: Option<&ExtendedState>) -> Result<Thread, Unplannable> {
    let info = core.thread_info.as_ref().ok_or_else(|| missing("threads"))?;
    let kept = core.thread_core.as_ref().ok_or_else(|| missing("threads"))?;
    let registers = info.gpregs.as_ref().ok_or_else(|| missing("registers"))?;
    if registers.gs_base() != 0 || registers.mode.is_some_and(|mode| mode != 1) {
        return Err(Unplannable("a thread has registers of an unknown kind".into()));
    }
    let name = kept.comm.clone().or_else(|| core.tc.as_ref().map(|task| task.comm().to_owned()));
    let mut thread = Thread {
        name: name.unwrap_or_default(),
        storage: registers.fs_base(),
        id_address: info.clear_tid_addr(),
        robust_list: (kept.futex_rla(), kept.futex_rla_len().into()),
        rseq: kept.rseq_entry.as_ref().map_or((0, 0, 0), |rseq| {
            (rseq.rseq_abi_pointer(), rseq.rseq_abi_size(), rseq.signature())
        }),
        alternate_stack: kept
            .sas
            .as_ref()
            .map_or((0, 0, 2), |stack| (stack.ss_sp(), stack.ss_size(), stack.ss_flags())),
        frame_address: 0,
        frame: Vec::new(),
    };
    if let Some(machine) = machine {
        let float = info.fpregs.as_ref().ok_or_else(|| missing("floating point registers"))?;
        frame::add(&mut thread, registers, float, kept.blk_sigset(), machine)?;
    }
    Ok(thread)
}

fn bounds(dump: &Dump) -> Bounds {
    let mm = dump.memory();
    Bounds {
        fields: [
            mm.mm_start_code(),
            mm.mm_end_code(),
            mm.mm_start_data(),
            mm.mm_end_data(),
            mm.mm_start_brk(),
            mm.mm_brk(),
            mm.mm_start_stack(),
            mm.mm_arg_start(),
            mm.mm_arg_end(),
            mm.mm_env_start(),
            mm.mm_env_end(),
        ],
        auxiliary: mm.mm_saved_auxv.clone(),
    }
}

/// Makes one region of the code of a shared object and of what is only read before and behind it,
/// which the linker puts on pages of their own: to map three pieces in place of one is what takes
/// most of a run's time. So what is only read can be executed as well, as in every object from
/// before the linker did that (`-z separate-code`, binutils 2.31); it can still not be written.
pub(super) fn with_their_code(regions: Vec<Region>) -> Vec<Region> {
    let is_read = |region: &Region| {
        matches!(region.source, Source::Pack(..)) && region.protection & !EXECUTE == READ
    };
    let as_code = |region: &Region| Region { protection: READ | EXECUTE, ..*region };
    let goes_on = |one: &Region, next: &Region| {
        is_read(one) && is_read(next) && as_code(one).is_continued_by(&as_code(next))
    };
    let groups = regions.chunk_by(goes_on);
    let together = groups.flat_map(|group| {
        if !group.iter().any(|region| region.protection & EXECUTE != 0) {
            return group.to_vec();
        }
        let length = group.iter().map(|region| region.length).sum();
        vec![Region { length, ..as_code(&group[0]) }]
    });
    together.collect()
}

/// The regions of a dump, sorted into what is mapped and what the kernel provides.
#[derive(Default)]
struct Regions {
    regions: Vec<Region>,
    files: Vec<MappedFile>,
    provided: Option<Provided>,
    /// What the kernel provides, as ranges.
    kernels: Vec<Range<u64>>,
}

impl Regions {
    fn of(dump: &Dump, size_of: &dyn Fn(&str) -> Option<u64>) -> Result<Self, Unplannable> {
        let mut found = Self::default();
        let (mut code, mut variables) = (None, None::<(u64, u64)>);
        for vma in &dump.memory().vmas {
            let (start, end) = (vma.start(), vma.end());
            if vma.status() & (VSYSCALL | VDSO | VVAR) != 0 {
                found.kernels.push(start..end);
            }
            if vma.status() & VSYSCALL != 0 {
            } else if vma.status() & VDSO != 0 && code.is_none() {
                code = Some((start, end));
            } else if vma.status() & VVAR != 0
                && variables.is_none_or(|(_, before)| before == start)
            {
                variables = Some((variables.map_or(start, |(first, _)| first), end));
            } else {
                let region = found.region(vma, dump, size_of)?;
                match found.regions.last_mut().filter(|last| last.is_continued_by(&region)) {
                    Some(last) => last.length += region.length,
                    None => found.regions.push(region),
                }
            }
        }
        found.provided = match (variables, code) {
            (Some(variables), Some(code)) => Some(Provided { variables, code }),
            (None, None) => None,
            _ => return Err(Unplannable("it has half of what the kernel provides".into())),
        };
        Ok(found)
    }

    fn region(
        &mut self,
        vma: &Vma,
        dump: &Dump,
        size_of: &dyn Fn(&str) -> Option<u64>,
    ) -> Result<Region, Unplannable> {
        let unknown =
            |what: &str| Err(Unplannable(format!("the region at {:#x} {what}", vma.start())));
        let kinds = status::REGULAR
            | status::STACK
            | status::HEAP
            | status::FILE_PRIVATE
            | status::ANON_PRIVATE
            | if vma.prot() & WRITE == 0 { FILE_SHARED } else { 0 };
        if vma.status() & !kinds != 0 {
            return unknown(&format!("is of an unknown kind ({:#x})", vma.status()));
        }
        // A shared file that is only read, such as the C library's table of encodings.
        let is_shared = vma.status() & FILE_SHARED != 0 && vma.prot() & WRITE == 0;
        let is_file = is_shared || vma.status() & status::FILE_PRIVATE != 0;
        let kind = match (is_shared, is_file) {
            (true, _) => MAP_SHARED,
            (false, true) => MAP_PRIVATE,
            (false, false) => MAP_PRIVATE | MAP_ANONYMOUS,
        };
        let further = HARMLESS_FLAGS | if is_file { 0 } else { MAP_GROWSDOWN };
        if vma.flags() & !further != kind {
            return unknown(&format!("has unknown flags ({:#x})", vma.flags()));
        }
        if vma.madv() & !KNOWN_ADVICE != 0 {
            return unknown(&format!("has unknown advice ({:#x})", vma.madv()));
        }
        if vma.prot() & (WRITE | EXECUTE) == WRITE | EXECUTE {
            return unknown("is writable and executable");
        }
        let source = if is_file { self.source(vma, dump, size_of)? } else { Source::Zeros };
        Ok(Region {
            start: vma.start(),
            length: vma.end() - vma.start(),
            protection: vma.prot(),
            flags: vma.flags(),
            source,
            advice: vma.madv(),
        })
    }

    fn source(
        &mut self,
        vma: &Vma,
        dump: &Dump,
        size_of: &dyn Fn(&str) -> Option<u64>,
    ) -> Result<Source, Unplannable> {
        let Some(name) = dump.regular_file(vma.shmid()).map(|file| file.name()) else {
            return Err(Unplannable(format!("the file at {:#x} is not known", vma.start())));
        };
        if let Some(number) = name.strip_prefix("pack:").and_then(|number| number.parse().ok()) {
            return Ok(Source::Pack(number, vma.pgoff()));
        }
        let known = self.files.iter().position(|file| file.path == name);
        let number = match known {
            Some(number) => number,
            None => {
                let size =
                    size_of(name).ok_or_else(|| Unplannable(format!("{name} has no size")))?;
                self.files.push(MappedFile { path: name.to_owned(), size });
                self.files.len() - 1
            }
        };
        Ok(Source::File(number as u32, vma.pgoff()))
    }
}
