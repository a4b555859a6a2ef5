//! What this process runs on: the C library and the processor.

use std::ffi::CStr;

use crate::image::plan::ExtendedState;

/// The version of the C library that this process runs on, such as `2.36`.
pub fn glibc_version() -> String {
    // SAFETY: the function takes nothing and returns a static string.
    let version = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    version.to_string_lossy().into_owned()
}

/// What the processor can do, as numbers that only serve to be compared: they are the same
/// on every core of a machine.
#[cfg(target_arch = "x86_64")]
pub fn processor_features() -> Vec<u32> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    // SAFETY: every x86-64 processor has the instruction; leaves beyond the highest are
    // not asked for.
    #[allow(unused_unsafe, reason = "safe functions from Rust 1.94 on")]
    unsafe {
        let highest = __cpuid(0).eax;
        let leaf = |number, part| (number <= highest).then(|| __cpuid_count(number, part));
        let mut words = Vec::new();
        // Model and features; ebx holds the number of the core that answers.
        words.extend(leaf(1, 0).into_iter().flat_map(|leaf| [leaf.eax, leaf.ecx, leaf.edx]));
        words.extend(leaf(7, 0).into_iter().flat_map(|leaf| [leaf.ebx, leaf.ecx, leaf.edx]));
        words.extend(leaf(7, 1).into_iter().flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.edx]));
        words.extend(leaf(7, 2).map(|leaf| leaf.edx));
        // Size of the area in which registers are saved.
        words.extend(leaf(0xd, 0).into_iter().flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.edx]));
        words.extend(leaf(0xd, 1).map(|leaf| leaf.eax));
        // Further features, of which some (`lzcnt`) decide what the C library takes.
        let extended = 0x8000_0001;
        if __cpuid(extended - 1).eax >= extended {
            let leaf = __cpuid(extended);
            words.extend([leaf.ecx, leaf.edx]);
        }
        words
    }
}

/// The size in bytes of what [`extended_state`] describes, and which parts it has.
#[cfg(target_arch = "x86_64")]
pub fn size_of_extended_state() -> (u32, u64) {
    use std::arch::x86_64::{__cpuid, __cpuid_count};

    // SAFETY: every x86-64 processor has the instruction; a leaf beyond the highest is not
    // asked for.
    #[allow(unused_unsafe, reason = "safe functions from Rust 1.94 on")]
    unsafe {
        if __cpuid(0).eax < 0xd {
            return (0, 0);
        }
        let all = __cpuid_count(0xd, 0);
        (all.ebx, u64::from(all.edx) << 32 | u64::from(all.eax))
    }
}

/// Where the processor puts the state of its floating point and vector registers (`XSAVE`, CPUID
/// leaf 13), as far as the kernel lets programs have them.
#[cfg(target_arch = "x86_64")]
pub fn extended_state() -> ExtendedState {
    use std::arch::x86_64::__cpuid_count;

    let (size, parts) = size_of_extended_state();
    // SAFETY: every x86-64 processor has the instruction, and one without this leaf has no parts.
    #[allow(unused_unsafe, reason = "safe functions from Rust 1.94 on")]
    unsafe {
        let place = |number: u32| match parts >> number & 1 {
            1 if number > 1 => {
                let part = __cpuid_count(0xd, number);
                (part.ebx, part.eax)
            }
            _ => (0, 0),
        };
        ExtendedState { size, parts, places: (0..20).map(place).collect() }
    }
}

/// What the processor can do, as numbers that only serve to be compared.
#[cfg(not(target_arch = "x86_64"))]
pub fn processor_features() -> Vec<u32> {
    let halves = |word: libc::c_ulong| [word as u32, ((word as u64) >> 32) as u32];
    // SAFETY: getauxval only looks up a number that the kernel gave the process.
    let words = unsafe { [libc::getauxval(libc::AT_HWCAP), libc::getauxval(libc::AT_HWCAP2)] };
    words.into_iter().flat_map(halves).collect()
}
