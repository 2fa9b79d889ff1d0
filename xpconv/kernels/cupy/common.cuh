// What all kernels share. Images are (N, D, H, W, C), channels last; a spatial axis that is not there has size 1.

#ifndef INFINITY  // NVRTC has none
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif

#define FOR_EACH(i, size) \
    for (INDEX i = blockIdx.x * (INDEX)blockDim.x + threadIdx.x; i < size; i += (INDEX)gridDim.x * blockDim.x)

struct Window {
    long long in[3], out[3], kernel[3], stride[3], low[3], dilation[3];
};

#define WINDOW                                                                                                    \
    long long n0, long long n1, long long n2, long long m0, long long m1, long long m2, long long k0, long long k1, \
    long long k2, long long s0, long long s1, long long s2, long long l0, long long l1, long long l2, long long d0, \
    long long d1, long long d2
#define THE_WINDOW                                                                                              \
    Window {                                                                                                    \
        {n0, n1, n2}, {m0, m1, m2}, {k0, k1, k2}, {s0, s1, s2}, {l0, l1, l2}, {d0, d1, d2}                      \
    }

// Element i of images (N, shape, channels).
struct Place {
    INDEX image, at[3], channel;
};

__device__ inline Place place(INDEX i, const long long* shape, INDEX channels) {
    Place p;
    p.channel = i % channels;
    i /= channels;
    for (int axis = 2; axis >= 0; axis--) {
        p.at[axis] = i % (INDEX)shape[axis];
        i /= (INDEX)shape[axis];
    }
    p.image = i;
    return p;
}

// The first channel of the pixel at `at`.
__device__ inline INDEX pixel(INDEX image, const INDEX* at, const long long* shape, INDEX channels) {
    return (((image * (INDEX)shape[0] + at[0]) * (INDEX)shape[1] + at[1]) * (INDEX)shape[2] + at[2]) * channels;
}

// Tap t of the kernel, in row-major order.
__device__ inline void tap(INDEX t, const Window& w, INDEX* r) {
    for (int axis = 2; axis >= 0; axis--) {
        r[axis] = t % (INDEX)w.kernel[axis];
        t /= (INDEX)w.kernel[axis];
    }
}

// The input that an output sees through a tap; false in the padding.
__device__ inline bool input_of(const INDEX* output, const INDEX* r, const Window& w, INDEX* input) {
    for (int axis = 0; axis < 3; axis++) {
        long long h = output[axis] * w.stride[axis] - w.low[axis] + r[axis] * w.dilation[axis];
        if (h < 0 || h >= w.in[axis]) return false;
        input[axis] = h;
    }
    return true;
}

// The output that sees an input through a tap; false if there is none.
__device__ inline bool output_of(const INDEX* input, const INDEX* r, const Window& w, INDEX* output) {
    for (int axis = 0; axis < 3; axis++) {
        long long p = input[axis] + w.low[axis] - r[axis] * w.dilation[axis];
        if (p < 0 || p % w.stride[axis] || p / w.stride[axis] >= w.out[axis]) return false;
        output[axis] = p / w.stride[axis];
    }
    return true;
}

// Cut off at none, the lower or both `bounds`; NaN stays.
__device__ inline SUM bounded(SUM value, long long bounds, double low, double high) {
    if (bounds > 0 && value < (SUM)low) value = (SUM)low;
    if (bounds > 1 && value > (SUM)high) value = (SUM)high;
    return value;
}
