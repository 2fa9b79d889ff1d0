// Element by element, in the order of memory; four at once where arrays begin at a multiple of their size.

// y[i] = f(a[i], b[i]), by threads of four elements each.
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
