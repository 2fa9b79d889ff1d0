// Philox 4×32-10, the counter-based generator of Salmon et al. (2011): a bijection of 128 bits under a key of 64.

__device__ inline void philox(unsigned long long key, unsigned long long counter, unsigned* out) {
    unsigned k0 = key, k1 = key >> 32;
    unsigned c0 = counter, c1 = counter >> 32, c2 = 0, c3 = 0;
    for (int round = 0; round < 10; round++) {
        const unsigned long long a = 0xD2511F53ull * c0, b = 0xCD9E8D57ull * c2;
        c0 = (unsigned)(b >> 32) ^ c1 ^ k0;
        c2 = (unsigned)(a >> 32) ^ c3 ^ k1;
        c1 = b;
        c3 = a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

// mask (count): false with probability p; a thread draws four. state is the key, and the counter to start from.
extern "C" __global__ void keep_mask(
    long long size, bool* mask, const unsigned long long* state, long long count, double p) {
    FOR_EACH(i, size) {
        unsigned bits[4];
        philox(state[0], state[1] + i, bits);
        for (INDEX k = 0, at = 4 * i; k < 4 && at < count; k++, at++)
            mask[at] = (bits[k] >> 8) * (1.0f / 16777216) >= (float)p;
    }
}

// On the device, so that a replayed graph draws anew.
extern "C" __global__ void advance(long long size, unsigned long long* state, long long by) {
    FOR_EACH(i, size) state[1] += by;
}
