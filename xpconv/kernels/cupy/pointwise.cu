// Element by element, in the order of memory.

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

extern "C" __global__ void add_bounded(
    long long size, const T* a, const T* b, T* y, long long bounds, double low, double high) {
    map(size, a, b, y, [=](T u, T v) { return (T)bounded((SUM)u + (SUM)v, bounds, low, high); });
}
