// GELU and its derivative, computed in SUM: x Φ(x), or with tanh u for erf(x/√2), u = √(2/π) (x + 0.044715 x³).

#define HALF_ROOT (SUM)0.70710678118654752440  // √(1/2)
#define DENSITY (SUM)0.39894228040143267794    // 1/√(2π)
#define TANH_SCALE (SUM)0.79788456080286535588  // √(2/π)
#define TANH_CUBE (SUM)0.044715

__device__ inline SUM below(SUM x) { return (SUM)0.5 * (1 + erf(x * HALF_ROOT)); }

// From ±100 on tanh u is ±1, and x² does not overflow yet.
__device__ inline SUM saturated(SUM x) { return bounded(x, 2, -100, 100); }

extern "C" __global__ void gelu(long long size, const T* x, T* y) {
    map(size, x, x, y, [](T value, T) { return (T)((SUM)value * below((SUM)value)); });
}

extern "C" __global__ void gelu_back(long long size, const T* grad, const T* x, T* dx) {
    map(size, grad, x, dx, [](T slope, T value) {
        const SUM v = (SUM)value;
        return (T)((SUM)slope * (below(v) + v * (exp((SUM)-0.5 * v * v) * DENSITY)));
    });
}

extern "C" __global__ void gelu_tanh(long long size, const T* x, T* y) {
    map(size, x, x, y, [](T value, T) {
        const SUM v = saturated((SUM)value);
        return (T)((SUM)value * ((SUM)0.5 * (1 + tanh(v * (1 + v * v * TANH_CUBE) * TANH_SCALE))));
    });
}

extern "C" __global__ void gelu_tanh_back(long long size, const T* grad, const T* x, T* dx) {
    map(size, grad, x, dx, [](T slope, T value) {
        const SUM v = saturated((SUM)value), cube = v * v * TANH_CUBE, t = tanh(v * (1 + cube) * TANH_SCALE);
        return (T)((SUM)slope * ((SUM)0.5 * (1 + t + v * (1 - t * t) * (1 + 3 * cube) * TANH_SCALE)));
    });
}
