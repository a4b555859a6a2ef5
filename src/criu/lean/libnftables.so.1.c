/* Stands in for libnftables while CRIU restores; see lean.rs. */
int nft_stands_in;
