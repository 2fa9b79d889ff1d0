// What all kernels share. Images are (N, D, H, W, C), channels last; a spatial axis that is not there has size 1.

#ifndef INFINITY  // NVRTC has none
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif

#define FOR_EACH(i, size) \
    for (INDEX i = blockIdx.x * (INDEX)blockDim.x + threadIdx.x; i < size; i += (INDEX)gridDim.x * blockDim.x)

// V neighbours in memory: what a thread takes at once.
template <int V>
struct alignas(V * sizeof(T)) Lanes {
    T at[V];
};

// Whether all of memory's V neighbours that begin at a multiple of V from here can be had in one access.
template <int V>
__device__ inline bool whole(const void* a, const void* b = nullptr, const void* c = nullptr) {
    return ((size_t)a | (size_t)b | (size_t)c) % sizeof(Lanes<V>) == 0;
}

template <int V>
__device__ inline Lanes<V> load(const T* from, bool whole) {
    if (whole) return *(const Lanes<V>*)from;
    Lanes<V> lanes;
    for (int k = 0; k < V; k++) lanes.at[k] = from[k];
    return lanes;
}

template <int V>
__device__ inline void store(T* to, const Lanes<V>& lanes, bool whole) {
    if (whole) {
        *(Lanes<V>*)to = lanes;
        return;
    }
    for (int k = 0; k < V; k++) to[k] = lanes.at[k];
}

// V sums of many numbers, in parts of 64 numbers each, since the rounding error of a sum grows with its length.
template <int V>
struct Sums {
    SUM part[V] = {}, total[V] = {};
    int count = 0;

    __device__ inline void next() {
        if (++count < 64) return;
        count = 0;
        for (int k = 0; k < V; k++) {
            total[k] += part[k];
            part[k] = 0;
        }
    }

    __device__ inline SUM of(int k) const { return total[k] + part[k]; }
};

// A kernel of `name<V>`, where V neighbouring channels are a thread's, with 4 of them or 1.
#define BY_LANES(lanes, name, ...) (lanes) == 4 ? name<4>(__VA_ARGS__) : name<1>(__VA_ARGS__)

struct Window {
    INDEX in[3], out[3], kernel[3], stride[3], low[3], dilation[3];
};

// The same as the host passes it: by value, with members of 64 bits.
struct WindowNumbers {
    long long at[18];
};

__device__ inline Window window_of(const WindowNumbers& numbers) {
    Window w;
    for (int axis = 0; axis < 3; axis++) {
        w.in[axis] = (INDEX)numbers.at[axis];
        w.out[axis] = (INDEX)numbers.at[axis + 3];
        w.kernel[axis] = (INDEX)numbers.at[axis + 6];
        w.stride[axis] = (INDEX)numbers.at[axis + 9];
        w.low[axis] = (INDEX)numbers.at[axis + 12];
        w.dilation[axis] = (INDEX)numbers.at[axis + 15];
    }
    return w;
}

#define WINDOW const WindowNumbers numbers
#define THE_WINDOW window_of(numbers)

// Element i of images (N, shape, channels).
struct Place {
    INDEX image, at[3], channel;
};

__device__ inline Place place(INDEX i, const INDEX* shape, INDEX channels) {
    Place p;
    p.channel = i % channels;
    i /= channels;
    for (int axis = 2; axis >= 0; axis--) {
        p.at[axis] = i % shape[axis];
        i /= shape[axis];
    }
    p.image = i;
    return p;
}

// The pixel after it, without a division.
__device__ inline void next_pixel(Place& p, const INDEX* shape) {
    for (int axis = 2; axis >= 0; axis--) {
        if (++p.at[axis] < shape[axis]) return;
        p.at[axis] = 0;
    }
    p.image++;
}

// The first channel of the pixel at `at`.
__device__ inline INDEX pixel(INDEX image, const INDEX* at, const INDEX* shape, INDEX channels) {
    return (((image * shape[0] + at[0]) * shape[1] + at[1]) * shape[2] + at[2]) * channels;
}

// Tap t of the kernel, in row-major order.
__device__ inline void tap(INDEX t, const Window& w, INDEX* r) {
    for (int axis = 2; axis >= 0; axis--) {
        r[axis] = t % w.kernel[axis];
        t /= w.kernel[axis];
    }
}

// Along an axis: the input that output p sees through tap r; below 0 if there is none.
struct Input {
    __device__ INDEX operator()(INDEX p, INDEX r, const Window& w, int axis) const {
        const INDEX h = p * w.stride[axis] - w.low[axis] + r * w.dilation[axis];
        return h < w.in[axis] ? h : -1;
    }
};

// And the output that sees input h.
struct Output {
    __device__ INDEX operator()(INDEX h, INDEX r, const Window& w, int axis) const {
        INDEX p = h + w.low[axis] - r * w.dilation[axis];
        if (p > 0 && w.stride[axis] > 1) {
            if (p % w.stride[axis]) return -1;
            p /= w.stride[axis];
        }
        return p < w.out[axis] ? p : -1;
    }
};

// The input that an output sees through a tap; false in the padding.
__device__ inline bool find_input(const INDEX* at, const INDEX* r, const Window& w, INDEX* input) {
    for (int axis = 0; axis < 3; axis++)
        if ((input[axis] = Input()(at[axis], r[axis], w, axis)) < 0) return false;
    return true;
}

// Calls f(t, to) for every tap t, in row-major order, that joins the position `at` on one side with `to` on the
// other, which is `Input` or `Output`.
template <class Other, class F>
__device__ inline void each_tap(const INDEX* at, const Window& w, F f) {
    const Other other;
    INDEX to[3];
    for (INDEX r0 = 0; r0 < w.kernel[0]; r0++) {
        if ((to[0] = other(at[0], r0, w, 0)) < 0) continue;
        for (INDEX r1 = 0; r1 < w.kernel[1]; r1++) {
            if ((to[1] = other(at[1], r1, w, 1)) < 0) continue;
            for (INDEX r2 = 0; r2 < w.kernel[2]; r2++) {
                if ((to[2] = other(at[2], r2, w, 2)) < 0) continue;
                f((r0 * w.kernel[1] + r1) * w.kernel[2] + r2, to);
            }
        }
    }
}

// Cut off at none, the lower or both `bounds`; NaN stays.
__device__ inline SUM bounded(SUM value, long long bounds, double low, double high) {
    if (bounds > 0 && value < (SUM)low) value = (SUM)low;
    if (bounds > 1 && value > (SUM)high) value = (SUM)high;
    return value;
}

// y[i] = f(a[i], b[i]). A thread computes four elements, in one access where the arrays are aligned to four elements.
template <class F>
__device__ inline void map(long long size, const T* a, const T* b, T* y, F f) {
    const INDEX fours = whole<4>(a, b, y) ? size / 4 : 0, rest = size - 4 * fours;
    FOR_EACH(i, fours) {
        const Lanes<4> u = load<4>(a + 4 * i, true), v = load<4>(b + 4 * i, true);
        Lanes<4> result;
        for (int k = 0; k < 4; k++) result.at[k] = f(u.at[k], v.at[k]);
        store<4>(y + 4 * i, result, true);
    }
    FOR_EACH(i, rest) y[4 * fours + i] = f(a[4 * fours + i], b[4 * fours + i]);
}

// A sum of many numbers: groups of a few in SUM, and the sum of the groups in double.
struct LongSum {
    double sum = 0;
    SUM few = 0;
    int count = 0;
    __device__ void add(SUM value) {
        few += value;
        if (++count == 64) {
            sum += few;
            few = 0;
            count = 0;
        }
    }
    __device__ double all() const { return sum + few; }
};
