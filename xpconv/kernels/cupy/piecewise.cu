// Piecewise functions of each element, and their derivatives, computed in SUM.

extern "C" __global__ void leaky_relu(long long size, const T* x, T* y, double slope) {
    map(size, x, x, y, [=](T value, T) { return (SUM)value > 0 ? value : (T)((SUM)value * (SUM)slope); });
}

extern "C" __global__ void leaky_relu_back(long long size, const T* grad, const T* x, T* dx, double slope) {
    map(size, grad, x, dx, [=](T g, T value) { return (SUM)value > 0 ? g : (T)((SUM)g * (SUM)slope); });
}

extern "C" __global__ void elu(long long size, const T* x, T* y, double alpha, double scale, double rate) {
    map(size, x, x, y, [=](T value, T) {
        const SUM v = (SUM)value;
        return (T)(v > 0 ? v * (SUM)scale : expm1(v * (SUM)rate) * (SUM)(alpha * scale));
    });
}

extern "C" __global__ void elu_back(
    long long size, const T* grad, const T* x, T* dx, double alpha, double scale, double rate) {
    map(size, grad, x, dx, [=](T slope, T value) {
        const SUM v = (SUM)value;
        return (T)((SUM)slope * (v > 0 ? (SUM)scale : exp(v * (SUM)rate) * (SUM)(alpha * scale * rate)));
    });
}

extern "C" __global__ void clipped_line(long long size, const T* x, T* y, double slope, double offset) {
    map(size, x, x, y, [=](T value, T) { return (T)bounded((SUM)value * (SUM)slope + (SUM)offset, 2, 0, 1); });
}

extern "C" __global__ void hardsigmoid(long long size, const T* x, T* y) {
    map(size, x, x, y, [](T value, T) { return (T)(bounded((SUM)value + 3, 2, 0, 6) / 6); });
}

extern "C" __global__ void hardsigmoid_back(long long size, const T* grad, const T* x, T* dx) {
    map(size, grad, x, dx, [](T slope, T value) {
        return (SUM)value > -3 && (SUM)value < 3 ? (T)((SUM)slope / 6) : (T)(SUM)0;
    });
}

extern "C" __global__ void hardswish(long long size, const T* x, T* y) {
    map(size, x, x, y, [](T value, T) { return (T)((SUM)value * (bounded((SUM)value + 3, 2, 0, 6) / 6)); });
}

extern "C" __global__ void hardswish_back(long long size, const T* grad, const T* x, T* dx) {
    map(size, grad, x, dx, [](T slope, T value) {
        const SUM v = (SUM)value;
        return v <= -3 ? (T)(SUM)0 : (T)((SUM)slope * (v < 3 ? v / 3 + (SUM)0.5 : 1));
    });
}
