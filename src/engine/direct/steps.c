/* The code that makes the steps (steps.rs), one after the other. It is copied to where it is the
 * only thing that stays (area.rs), so it refers to nothing but its registers: r12 is the list,
 * r13 the list for when a step does not answer as it must, r14 the end of a stack that it does
 * not use; but a debugger may look for one. */
__asm__(".pushsection .text.pyimg_steps,\"ax\",@progbits\n"
        ".globl pyimg_steps_begin, pyimg_steps_end\n"
        ".hidden pyimg_steps_begin, pyimg_steps_end\n"
        "pyimg_steps_begin:\n"
        "    mov %r14, %rsp\n"
        "2:  mov (%r12), %rax\n" /* the number of the call, or -1 at the end */
        "    cmp $-1, %rax\n"
        "    je 5f\n"
        "    mov 8(%r12), %rdi\n"
        "    mov 16(%r12), %rsi\n"
        "    mov 24(%r12), %rdx\n"
        "    mov 32(%r12), %r10\n"
        "    mov 40(%r12), %r8\n"
        "    mov 48(%r12), %r9\n"
        "    syscall\n"
        "    cmpq $0, 64(%r12)\n" /* may it answer anything? */
        "    jne 3f\n"
        "    cmp 56(%r12), %rax\n" /* what it has to answer */
        "    jne 4f\n"
        "3:  add $72, %r12\n"
        "    jmp 2b\n"
        "4:  mov %r13, %r12\n" /* the list for that case */
        "    jmp 2b\n"
        "5:  mov 24(%r12), %rdi\n"
        "    mov 16(%r12), %rsp\n"
        "    xor %ebp, %ebp\n"
        "    call *8(%r12)\n"
        "    ud2\n"
        "pyimg_steps_end:\n"
        ".popsection\n");
