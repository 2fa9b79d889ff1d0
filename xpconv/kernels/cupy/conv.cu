// Convolution: im2col and its transpose around a matrix product, and depthwise without one.

// x (N, *in, G*C) as (G, N*out, taps, C): a thread a number.
extern "C" __global__ void columns(long long size, const T* x, T* col, long long groups, long long channels, WINDOW) {
    const Window w = THE_WINDOW;
    const INDEX count = w.kernel[0] * w.kernel[1] * w.kernel[2];
    const INDEX pixels = size / (groups * count * channels);
    FOR_EACH(i, size) {
        const INDEX c = i % (INDEX)channels;
        INDEX rest = i / (INDEX)channels, r[3], input[3];
        tap(rest % count, w, r);
        rest /= count;
        const Place p = place(rest % pixels, w.out, 1);
        const INDEX group = rest / pixels;
        const bool inside = input_of(p.at, r, w, input);
        col[i] = inside ? x[pixel(p.image, input, w.in, groups * channels) + group * (INDEX)channels + c] : (T)0;
    }
}

// Adds up what `columns` spread: dx (N, *in, G*C) from (G, N*out, taps, C), a thread a number of dx.
extern "C" __global__ void from_columns(
    long long size, const T* col, T* dx, long long groups, long long channels, long long pixels, WINDOW) {
    const Window w = THE_WINDOW;
    const INDEX count = w.kernel[0] * w.kernel[1] * w.kernel[2];
    FOR_EACH(i, size) {
        const Place p = place(i, w.in, groups * channels);
        const INDEX group = p.channel / (INDEX)channels, c = p.channel % (INDEX)channels;
        SUM sum = 0;
        INDEX r[3], output[3];
        for (INDEX t = 0; t < count; t++) {
            tap(t, w, r);
            if (!output_of(p.at, r, w, output)) continue;
            const INDEX row = group * (INDEX)pixels + pixel(p.image, output, w.out, 1);
            sum += (SUM)col[(row * count + t) * (INDEX)channels + c];
        }
        dx[i] = (T)sum;
    }
}

// y (…, K) plus bias, cut off at `bounds` ends (0, 1 or 2).
extern "C" __global__ void finish(
    long long size, T* y, const T* bias, long long channels, long long bounds, double low, double high) {
    FOR_EACH(i, size) {
        const SUM value = (SUM)y[i] + (bias ? (SUM)bias[i % (INDEX)channels] : (SUM)0);
        y[i] = (T)bounded(value, bounds, low, high);
    }
}

// y (N, *out, C*K) with K kernels, each of one channel, for every channel of x (N, *in, C).
extern "C" __global__ void depthwise(
    long long size, const T* x, const T* weight, T* y, const T* bias, long long channels, long long each,
    long long bounds, double low, double high, WINDOW) {
    const Window w = THE_WINDOW;
    const INDEX count = w.kernel[0] * w.kernel[1] * w.kernel[2];
    FOR_EACH(i, size) {
        const Place p = place(i, w.out, channels * each);
        SUM sum = bias ? (SUM)bias[p.channel] : (SUM)0;
        INDEX r[3], input[3];
        for (INDEX t = 0; t < count; t++) {
            tap(t, w, r);
            if (!input_of(p.at, r, w, input)) continue;
            const INDEX from = pixel(p.image, input, w.in, channels) + p.channel / (INDEX)each;
            sum += (SUM)x[from] * (SUM)weight[p.channel * count + t];
        }
        y[i] = (T)bounded(sum, bounds, low, high);
    }
}

extern "C" __global__ void depthwise_input(
    long long size, const T* grad, const T* weight, T* dx, long long channels, long long each, WINDOW) {
    const Window w = THE_WINDOW;
    const INDEX count = w.kernel[0] * w.kernel[1] * w.kernel[2];
    FOR_EACH(i, size) {
        const Place p = place(i, w.in, channels);
        SUM sum = 0;
        INDEX r[3], output[3];
        for (INDEX t = 0; t < count; t++) {
            tap(t, w, r);
            if (!output_of(p.at, r, w, output)) continue;
            const INDEX from = pixel(p.image, output, w.out, channels * each);
            for (INDEX k = p.channel * (INDEX)each; k < (p.channel + 1) * (INDEX)each; k++)
                sum += (SUM)grad[from + k] * (SUM)weight[k * count + t];
        }
        dx[i] = (T)sum;
    }
}

// Part j of dw: (parts, taps, C*K), each the sum over every parts-th pixel.
extern "C" __global__ void depthwise_weight(
    long long size, const T* grad, const T* x, SUM* dw, long long channels, long long each, long long pixels,
    long long parts, WINDOW) {
    const Window w = THE_WINDOW;
    const INDEX count = w.kernel[0] * w.kernel[1] * w.kernel[2], outputs = channels * each;
    FOR_EACH(i, size) {
        const INDEX k = i % outputs, t = i / outputs % count, part = i / outputs / count;
        SUM sum = 0;
        INDEX r[3], input[3];
        tap(t, w, r);
        for (INDEX j = part; j < pixels; j += parts) {
            const Place p = place(j, w.out, 1);
            if (!input_of(p.at, r, w, input)) continue;
            const INDEX from = pixel(p.image, input, w.in, channels) + k / (INDEX)each;
            sum += (SUM)grad[j * outputs + k] * (SUM)x[from];
        }
        dw[i] = sum;
    }
}
