/* Stands in for libgnutls while CRIU restores; see lean.rs. Of functions the dynamic linker
 * wants nothing until they are called; this one is a variable. */
void (*gnutls_free)(void *);
