// Element by element, in the order of memory; four at once where arrays begin at a multiple of their size.

struct alignas(4 * sizeof(T)) Four {
    T at[4];
};

// y[i] = f(a[i], b[i]), by threads of four elements each.
template <class F>
__device__ inline void map(long long size, const T* a, const T* b, T* y, F f) {
    const bool aligned = ((size_t)a | (size_t)b | (size_t)y) % sizeof(Four) == 0;
    const INDEX fours = aligned ? size / 4 : 0;
    FOR_EACH(i, fours) {
        const Four u = ((const Four*)a)[i], v = ((const Four*)b)[i];
        Four result;
        for (int k = 0; k < 4; k++) result.at[k] = f(u.at[k], v.at[k]);
        ((Four*)y)[i] = result;
    }
    const INDEX rest = size - 4 * fours;
    FOR_EACH(i, rest) y[4 * fours + i] = f(a[4 * fours + i], b[4 * fours + i]);
}

extern "C" __global__ void clip(long long size, const T* x, T* y, long long bounds, double low, double high) {
    map(size, x, x, y, [=](T value, T) { return (T)bounded((SUM)value, bounds, low, high); });
}

extern "C" __global__ void clip_back(
    long long size, const T* grad, const T* y, T* dx, long long bounds, double low, double high) {
    map(size, grad, y, dx, [=](T slope, T value) {
        const bool cut = (SUM)value <= (SUM)low || (bounds > 1 && (SUM)value >= (SUM)high);
        return cut ? (T)0 : slope;
    });
}

extern "C" __global__ void add(long long size, const T* a, const T* b, T* y) {
    map(size, a, b, y, [](T u, T v) { return (T)((SUM)u + (SUM)v); });
}
