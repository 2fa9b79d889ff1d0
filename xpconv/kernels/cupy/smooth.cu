// Smooth functions of each element and their derivatives, computed in SUM. Exponentials have arguments of at most 0.

__device__ inline SUM sigma(SUM x) {
    const SUM z = exp(-fabs(x));
    return (x < 0 ? z : 1) / (1 + z);
}

// log(1 + exp(x))
__device__ inline SUM log_1p_exp(SUM x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

// tanh(log(1 + exp(x))), which with w = exp(x) is (w² + 2w) / (w² + 2w + 2).
__device__ inline SUM tanh_log_1p_exp(SUM x) {
    const SUM z = exp(-fabs(x)), top = x < 0 ? z * (z + 2) : 1 + 2 * z;
    return top / (top + (x < 0 ? 2 : 2 * z * z));
}

extern "C" __global__ void sigmoid(long long size, const T* x, T* y) {
    map(size, x, x, y, [](T value, T) { return (T)sigma((SUM)value); });
}

extern "C" __global__ void sigmoid_back(long long size, const T* grad, const T* y, T* dx) {
    map(size, grad, y, dx, [](T slope, T value) { return (T)((SUM)slope * (SUM)value * (1 - (SUM)value)); });
}

extern "C" __global__ void tanh_back(long long size, const T* grad, const T* y, T* dx) {
    map(size, grad, y, dx, [](T slope, T value) { return (T)((SUM)slope * (1 - (SUM)value * (SUM)value)); });
}

extern "C" __global__ void log_sigmoid(long long size, const T* x, T* y) {
    map(size, x, x, y, [](T value, T) { return (T)-log_1p_exp(-(SUM)value); });
}

extern "C" __global__ void log_sigmoid_back(long long size, const T* grad, const T* x, T* dx) {
    map(size, grad, x, dx, [](T slope, T value) { return (T)((SUM)slope * sigma(-(SUM)value)); });
}

extern "C" __global__ void softplus(long long size, const T* x, T* y, double beta, double threshold) {
    map(size, x, x, y, [=](T value, T) {
        const SUM z = (SUM)value * (SUM)beta;
        return z > (SUM)threshold ? value : (T)(log_1p_exp(z) / (SUM)beta);
    });
}

extern "C" __global__ void softplus_back(
    long long size, const T* grad, const T* x, T* dx, double beta, double threshold) {
    map(size, grad, x, dx, [=](T slope, T value) {
        const SUM z = (SUM)value * (SUM)beta;
        return z > (SUM)threshold ? slope : (T)((SUM)slope * sigma(z));
    });
}

extern "C" __global__ void silu(long long size, const T* x, T* y) {
    map(size, x, x, y, [](T value, T) { return (T)((SUM)value * sigma((SUM)value)); });
}

extern "C" __global__ void silu_back(long long size, const T* grad, const T* x, T* dx) {
    map(size, grad, x, dx, [](T slope, T value) {
        const SUM s = sigma((SUM)value);
        return (T)((SUM)slope * s * (1 + (SUM)value * (1 - s)));
    });
}

extern "C" __global__ void mish(long long size, const T* x, T* y) {
    map(size, x, x, y, [](T value, T) { return (T)((SUM)value * tanh_log_1p_exp((SUM)value)); });
}

extern "C" __global__ void mish_back(long long size, const T* grad, const T* x, T* dx) {
    map(size, grad, x, dx, [](T slope, T value) {
        const SUM t = tanh_log_1p_exp((SUM)value);
        return (T)((SUM)slope * (t + (SUM)value * (1 - t * t) * sigma((SUM)value)));
    });
}
