// Element by element, in the order of memory.

extern "C" __global__ void clip(long long size, const T* x, T* y, long long bounds, double low, double high) {
    FOR_EACH(i, size) y[i] = (T)bounded((SUM)x[i], bounds, low, high);
}

extern "C" __global__ void clip_back(
    long long size, const T* grad, const T* y, T* dx, long long bounds, double low, double high) {
    FOR_EACH(i, size) {
        const SUM value = (SUM)y[i];
        const bool cut = value <= (SUM)low || (bounds > 1 && value >= (SUM)high);
        dx[i] = cut ? (T)0 : grad[i];
    }
}

extern "C" __global__ void add(long long size, const T* a, const T* b, T* y) {
    FOR_EACH(i, size) y[i] = (T)((SUM)a[i] + (SUM)b[i]);
}
