// Steps of LARS and LAMB, whose sizes depend on the norms of each parameter. A parameter is cut into chunks, one for a block:
// the first launch writes the sums of squares of each chunk, and in the second each block adds those of its parameter.
// s and k are settings and coefficients as in optim.cu; where `skip` is true, nothing is done.

// Some parameters of the flat buffer: the first begins at `begin`; number t has the elements up to `end[t]` and the chunks
// up to `chunks[t]`.
struct Parameters {
    long long begin, end[200], chunks[200];
};

struct Chunk {
    int parameter;
    INDEX begin, end;
};

__device__ inline Chunk chunk_of(long long number, const Parameters& table, long long count, long long length) {
    int first = 0, last = (int)count - 1;  // the parameter is one of these
    while (first < last) {
        const int middle = (first + last) / 2;
        if (number < table.chunks[middle]) last = middle;
        else first = middle + 1;
    }
    const long long before = first ? table.chunks[first - 1] : 0, start = first ? table.end[first - 1] : table.begin;
    const long long begin = start + (number - before) * length, end = begin + length;
    return {first, (INDEX)begin, (INDEX)(end < table.end[first] ? end : table.end[first])};
}

// The sums of a and b over the threads of a block, in each of them.
__device__ inline void add_up(double& a, double& b) {
    __shared__ double warps[2][32];
    for (int mask = 16; mask > 0; mask /= 2) {
        a += __shfl_xor_sync(0xffffffffu, a, mask);
        b += __shfl_xor_sync(0xffffffffu, b, mask);
    }
    __syncthreads();  // the sums before have been read
    if (threadIdx.x % 32 == 0) {
        warps[0][threadIdx.x / 32] = a;
        warps[1][threadIdx.x / 32] = b;
    }
    __syncthreads();
    a = b = 0;
    for (unsigned w = 0; w < blockDim.x / 32; w++) {
        a += warps[0][w];
        b += warps[1][w];
    }
}

// The sums of a chunk, written by one thread.
__device__ inline void note(double a, double b, double* sums, long long number) {
    add_up(a, b);
    if (threadIdx.x > 0) return;
    sums[2 * number] = a;
    sums[2 * number + 1] = b;
}

// The two norms of a parameter.
__device__ inline void norms(int parameter, const double* sums, const Parameters& table, double& a, double& b) {
    a = b = 0;
    const long long first = parameter ? table.chunks[parameter - 1] : 0;
    for (long long i = first + threadIdx.x; i < table.chunks[parameter]; i += blockDim.x) {
        a += sums[2 * i];
        b += sums[2 * i + 1];
    }
    add_up(a, b);
    a = sqrt(a);
    b = sqrt(b);
}

__device__ inline double squared(T x) {
    const double wide = (double)x;
    return wide * wide;
}

#define EACH_CHUNK(number) for (long long number = blockIdx.x; number < table.chunks[count - 1]; number += gridDim.x)
#define EACH_ELEMENT(i, chunk) for (INDEX i = chunk.begin + threadIdx.x; i < chunk.end; i += blockDim.x)

// Sums of p² and g².
extern "C" __global__ void lars_sums(
    long long size, const T* p, const T* g, double* sums, const bool* skip, const Parameters table, long long count,
    long long length) {
    if (skip && *skip) return;
    EACH_CHUNK(number) {
        const Chunk chunk = chunk_of(number, table, count, length);
        double a = 0, b = 0;
        EACH_ELEMENT(i, chunk) {
            a += squared(p[i]);
            b += squared(g[i]);
        }
        note(a, b, sums, number);
    }
}

// s: momentum, trust_coefficient, eps at 3…5.
extern "C" __global__ void lars(
    long long size, T* p, const T* g, T* m, const double* sums, const double* s, const bool* skip, const Parameters table,
    long long count, long long length) {
    if (skip && *skip) return;
    EACH_CHUNK(number) {
        const Chunk chunk = chunk_of(number, table, count, length);
        double trust = 1, a, b;
        norms(chunk.parameter, sums, table, a, b);
        if (s[4] && a > 0 && b > 0) trust = s[4] * a / (b + s[1] * a + s[5]);
        EACH_ELEMENT(i, chunk) {
            T step = (T)trust * ((T)s[0] * (g[i] + (T)s[1] * p[i]));
            if (m) m[i] = step += (T)s[3] * m[i];
            p[i] -= step;
        }
    }
}

// s: betas, eps at 3…5. k: what is multiplied with m and v.
extern "C" __global__ void prepare_lamb(long long size, const double* s, double* counters, double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const double t = counters[2 * i] += 1;
        if (i) continue;
        k[0] = 1 / (1 - pow(s[3], t));
        k[1] = 1 / (1 - pow(s[4], t));
    }
}

// The averages m and v, the direction u, and sums of p² and u².
extern "C" __global__ void lamb_direction(
    long long size, const T* p, const T* g, T* m, T* v, T* u, double* sums, const double* s, const double* k,
    const bool* skip, const Parameters table, long long count, long long length) {
    if (skip && *skip) return;
    EACH_CHUNK(number) {
        const Chunk chunk = chunk_of(number, table, count, length);
        double a = 0, b = 0;
        EACH_ELEMENT(i, chunk) {
            const T grad = g[i], mean = (T)s[3] * m[i] + (T)(1 - s[3]) * grad;
            const T square = (T)s[4] * v[i] + (T)(1 - s[4]) * (grad * grad);
            const T step = mean * (T)k[0] / ((T)sqrt((SUM)(square * (T)k[1])) + (T)s[5]) + (T)s[1] * p[i];
            m[i] = mean;
            v[i] = square;
            u[i] = step;
            a += squared(p[i]);
            b += squared(step);
        }
        note(a, b, sums, number);
    }
}

extern "C" __global__ void lamb(
    long long size, T* p, const T* u, const double* sums, const double* s, const bool* skip, const Parameters table,
    long long count, long long length) {
    if (skip && *skip) return;
    EACH_CHUNK(number) {
        const Chunk chunk = chunk_of(number, table, count, length);
        double a, b;
        norms(chunk.parameter, sums, table, a, b);
        const T rate = (T)(s[0] * (a > 0 && b > 0 ? a / b : 1));
        EACH_ELEMENT(i, chunk) p[i] -= rate * u[i];
    }
}
