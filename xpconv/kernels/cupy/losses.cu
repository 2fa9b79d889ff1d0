// Losses of each element and their derivatives, computed in SUM, and the sum of all elements.

extern "C" __global__ void binary_entropy(long long size, const T* x, const T* t, T* y, double positive) {
    map(size, x, t, y, [=](T value, T target) {
        const SUM v = (SUM)value, yes = (SUM)target, no = 1 - yes, weighted = (SUM)positive * yes;
        return (T)((v < 0 ? -weighted * v : no * v) + (weighted + no) * log1p(exp(-fabs(v))));
    });
}

extern "C" __global__ void binary_entropy_slope(long long size, const T* x, const T* t, T* y, double positive) {
    map(size, x, t, y, [=](T value, T target) {
        const SUM v = (SUM)value, z = exp(-fabs(v)), large = 1 / (1 + z), small = z / (1 + z);
        const SUM yes = (SUM)target, p = v < 0 ? small : large, q = v < 0 ? large : small;
        return (T)((1 - yes) * p - (SUM)positive * yes * q);
    });
}

__device__ inline bool probable(SUM p) { return p >= 0 && p <= 1; }

__device__ inline SUM bounded_log(SUM p) {
    const SUM y = log(p);
    return y < -100 ? -100 : y;
}

extern "C" __global__ void probability_entropy(long long size, const T* x, const T* t, T* y) {
    map(size, x, t, y, [](T value, T target) {
        const SUM p = (SUM)value, yes = (SUM)target;
        const SUM loss = -(yes * bounded_log(p) + (1 - yes) * bounded_log(1 - p));
        return (T)(probable(p) && probable(yes) ? loss : (SUM)NAN);
    });
}

extern "C" __global__ void probability_entropy_slope(long long size, const T* x, const T* t, T* y) {
    map(size, x, t, y, [](T value, T target) {
        const SUM p = (SUM)value, yes = (SUM)target, by = p * (1 - p);
        return (T)(probable(p) && probable(yes) ? (p - yes) / (by < (SUM)1e-12 ? (SUM)1e-12 : by) : (SUM)NAN);
    });
}

extern "C" __global__ void smooth_l1(long long size, const T* d, T* y, double beta) {
    map(size, d, d, y, [=](T value, T) {
        const SUM v = fabs((SUM)value);
        return (T)(v < (SUM)beta ? v * v * (SUM)(0.5 / (beta > 0 ? beta : 1)) : v - (SUM)(0.5 * beta));
    });
}

extern "C" __global__ void smooth_l1_slope(long long size, const T* d, T* y, double beta) {
    map(size, d, d, y, [=](T value, T) {
        const SUM v = (SUM)value;
        return (T)(fabs(v) < (SUM)beta ? v / (SUM)(beta > 0 ? beta : 1) : v > 0 ? (SUM)1 : v < 0 ? (SUM)-1 : v);
    });
}

extern "C" __global__ void huber(long long size, const T* d, T* y, double delta) {
    map(size, d, d, y, [=](T value, T) {
        const SUM v = fabs((SUM)value);
        return (T)(v < (SUM)delta ? (SUM)0.5 * v * v : (SUM)delta * (v - (SUM)(0.5 * delta)));
    });
}

extern "C" __global__ void huber_slope(long long size, const T* d, T* y, double delta) {
    map(size, d, d, y, [=](T value, T) { return (T)bounded((SUM)value, 2, -delta, delta); });
}

extern "C" __global__ void divergence(long long size, const T* x, const T* t, T* y, long long log_target) {
    map(size, x, t, y, [=](T value, T target) {
        const SUM v = (SUM)value, u = (SUM)target;
        return (T)(log_target ? exp(u) * (u - v) : u * (log(u == 0 ? (SUM)1 : u) - v));
    });
}

// y = factor * (the sum of x). For many elements, each block writes its sum, and a second launch adds these `parts`.
extern "C" __global__ void scaled_sum(
    long long size, const T* x, const double* parts, double* sums, T* y, double factor, long long count, long long blocks) {
    const INDEX step = (INDEX)blocks * blockDim.x;
    for (INDEX block = blockIdx.x; block < blocks; block += gridDim.x) {
        LongSum few;
        double sum = 0;
        for (INDEX i = block * (INDEX)blockDim.x + threadIdx.x; i < count; i += step)
            if (parts)
                sum += parts[i];
            else
                few.add((SUM)x[i]);
        sum += few.all();
        for (int mask = 16; mask > 0; mask /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, mask);
        __shared__ double warps[32];
        __syncthreads();  // the sums of the block before have been read
        if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
        __syncthreads();
        if (threadIdx.x > 0) continue;
        sum = 0;
        for (unsigned w = 0; w < blockDim.x / 32; w++) sum += warps[w];
        if (blocks == 1)
            *y = (T)(SUM)(sum * factor);
        else
            sums[block] = sum;
    }
}
