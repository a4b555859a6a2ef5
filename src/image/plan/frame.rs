//! A thread's registers as the signal frame from which the kernel restores them.

use super::{ExtendedState, Thread, Unplannable};
use crate::image::message::{FloatX86, RegistersX86};

/// `ucontext` flags: the extended state is there; the stack segment is, and is believed.
const UC_FLAGS: u64 = 1 | 2 | 4;
/// `FP_XSTATE_MAGIC1` and `FP_XSTATE_MAGIC2` of `asm/sigcontext.h`.
const XSTATE_BEGIN: u32 = 0x4650_5853;
const XSTATE_END: u32 = 0x4650_5845;
/// Where in a frame the mask of blocked signals is.
pub const MASK: usize = 8 + 296;
/// Bytes of `struct rt_sigframe` without the floating point state: return address,
/// `ucontext` with its mask, `siginfo`.
const FRAME: usize = 8 + 304 + 128;
/// The bytes below the stack pointer that belong to whoever was interrupted (System V ABI).
const RED_ZONE: u64 = 128;

/// Adds a thread's frame: it lies below what the thread has on its stack.
pub fn add(
    thread: &mut Thread,
    registers: &RegistersX86,
    float: &FloatX86,
    mask: u64,
    machine: &ExtendedState,
) -> Result<(), Unplannable> {
    let state = extended_state(float, machine)?;
    // The kernel wants the state at a multiple of 64 bytes.
    let state_address = registers.sp().saturating_sub(RED_ZONE + state.len() as u64) & !63;
    thread.frame_address = state_address.saturating_sub(FRAME as u64) & !15;
    thread.frame = frame(registers, mask, thread.alternate_stack, state_address);
    thread.frame.resize((state_address - thread.frame_address) as usize, 0);
    thread.frame.extend(state);
    Ok(())
}

/// `struct rt_sigframe` up to its `siginfo`, which is not looked at.
fn frame(
    registers: &RegistersX86,
    mask: u64,
    (stack, size, flags): (u64, u64, u32),
    state_address: u64,
) -> Vec<u8> {
    let r = registers;
    let segments = r.cs() & 0xffff | (r.ss() & 0xffff) << 48;
    let words = [
        0, // where a handler would return to
        UC_FLAGS,
        0, // the next context
        stack,
        flags.into(),
        size,
        r.r8(),
        r.r9(),
        r.r10(),
        r.r11(),
        r.r12(),
        r.r13(),
        r.r14(),
        r.r15(),
        r.di(),
        r.si(),
        r.bp(),
        r.bx(),
        r.dx(),
        r.ax(),
        r.cx(),
        r.sp(),
        r.ip(),
        r.flags(),
        segments,
        0, // error
        0, // trap
        0, // the mask as it was before there were 64 signals
        0, // the address of a fault
        state_address,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0, // reserved
        mask,
    ];
    words.iter().flat_map(|word| u64::to_le_bytes(*word)).collect()
}

/// The state of the floating point and vector registers as a signal frame has it: the area of
/// `XSAVE` in its standard form, with the kernel's own words in it and after it.
fn extended_state(float: &FloatX86, machine: &ExtendedState) -> Result<Vec<u8>, Unplannable> {
    const LEGACY: usize = 512;
    const HEADER: usize = 64;
    /// Where in the legacy part there is room for the kernel's words.
    const RESERVED: usize = 464;
    let size = machine.size as usize;
    let Some(extended) = float.xsave.as_ref().filter(|_| size >= LEGACY + HEADER) else {
        return Err(Unplannable("its processor knows no XSAVE".into()));
    };
    if extended.cet.as_ref().is_some_and(|cet| cet.cet() != 0) {
        return Err(Unplannable("a thread has a shadow stack".into()));
    }
    let mut area = vec![0; size];
    let mut put = |at: usize, bytes: &[u8]| area[at..at + bytes.len()].copy_from_slice(bytes);
    let halves = [float.cwd(), float.swd(), float.twd(), float.fop()];
    for (i, half) in halves.into_iter().enumerate() {
        put(2 * i, &(half as u16).to_le_bytes());
    }
    put(8, &float.rip().to_le_bytes());
    put(16, &float.rdp().to_le_bytes());
    put(24, &float.mxcsr().to_le_bytes());
    put(28, &float.mxcsr_mask().to_le_bytes());
    let bytes32 = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let bytes64 = |words: &[u64]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let (stack, vectors) = (bytes32(&float.st_space), bytes32(&float.xmm_space));
    if stack.len() > 128 || vectors.len() > 256 {
        return Err(Unplannable("there are more registers than the processor has".into()));
    }
    put(32, &stack);
    put(160, &vectors);
    // CRIU keeps these parts and no others; what else a thread has set would be lost.
    let parts = [
        (2, bytes32(&extended.ymmh_space)),
        (3, bytes64(&extended.bndreg_state)),
        (4, bytes64(&extended.bndcsr_state)),
        (5, bytes64(&extended.opmask_reg)),
        (6, bytes64(&extended.zmm_upper)),
        (7, bytes64(&extended.hi16_zmm)),
        (9, bytes32(&extended.pkru)),
    ];
    let known = parts.iter().fold(3_u64, |known, (number, _)| known | 1 << number);
    if extended.xstate_bv() & !(known & machine.parts) != 0 {
        return Err(Unplannable("a thread has registers that CRIU does not keep".into()));
    }
    for (number, bytes) in &parts {
        if extended.xstate_bv() >> number & 1 == 0 {
            continue;
        }
        let (offset, room) = machine.places.get(*number).copied().unwrap_or_default();
        let (offset, room) = (offset as usize, room as usize);
        if bytes.len() > room || offset < LEGACY + HEADER || offset + room > size {
            return Err(Unplannable("the processor has its registers elsewhere".into()));
        }
        put(offset, bytes);
    }
    put(LEGACY, &(extended.xstate_bv() | 3).to_le_bytes());
    put(RESERVED, &XSTATE_BEGIN.to_le_bytes());
    put(RESERVED + 4, &(size as u32 + 4).to_le_bytes());
    put(RESERVED + 8, &machine.parts.to_le_bytes());
    put(RESERVED + 16, &(size as u32).to_le_bytes());
    area.extend(XSTATE_END.to_le_bytes());
    Ok(area)
}
