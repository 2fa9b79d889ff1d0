// Convolution: im2col and its transpose around a matrix product, and depthwise without one.

// x (N, *in, G*C) as (G, N*out, taps, C). A thread has one number of a row, and `length` pixels in a row of them:
// so neighbours write neighbours, and divide but once.
extern "C" __global__ void columns(
    long long size, const T* x, T* col, long long groups, long long channels, long long pixels, long long length,
    WINDOW) {
    const Window w = THE_WINDOW;
    const INDEX row = w.kernel[0] * w.kernel[1] * w.kernel[2] * (INDEX)channels;
    const INDEX parts = ((INDEX)pixels + (INDEX)length - 1) / (INDEX)length;
    FOR_EACH(i, size) {
        const INDEX at = i % row, c = at % (INDEX)channels, part = i / row % parts, group = i / row / parts;
        INDEX r[3], input[3];
        tap(at / (INDEX)channels, w, r);
        const INDEX first = part * (INDEX)length, rest = (INDEX)pixels - first;
        const INDEX stop = first + (rest < length ? rest : (INDEX)length);
        Place p = place(first, w.out, 1);
        for (INDEX j = first; j < stop; j++, next_pixel(p, w.out)) {
            T value = (T)0;
            if (find_input(p.at, r, w, input))
                value = x[pixel(p.image, input, w.in, groups * channels) + group * (INDEX)channels + c];
            col[(group * (INDEX)pixels + j) * row + at] = value;
        }
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
        each_tap<Output>(p.at, w, [&](INDEX t, const INDEX* output) {
            const INDEX row = group * (INDEX)pixels + pixel(p.image, output, w.out, 1);
            sum += (SUM)col[(row * count + t) * (INDEX)channels + c];
        });
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

// y (N, *out, C*K) with K kernels (taps, C*K), each of one channel, for every channel of x (N, *in, C).
extern "C" __global__ void depthwise(
    long long size, const T* x, const T* weight, T* y, const T* bias, long long channels, long long each,
    long long bounds, double low, double high, WINDOW) {
    const Window w = THE_WINDOW;
    const INDEX outputs = channels * each;
    FOR_EACH(i, size) {
        const Place p = place(i, w.out, outputs);
        SUM sum = bias ? (SUM)bias[p.channel] : (SUM)0;
        each_tap<Input>(p.at, w, [&](INDEX t, const INDEX* input) {
            const INDEX from = pixel(p.image, input, w.in, channels) + p.channel / (INDEX)each;
            sum += (SUM)x[from] * (SUM)weight[t * outputs + p.channel];
        });
        y[i] = (T)bounded(sum, bounds, low, high);
    }
}

extern "C" __global__ void depthwise_input(
    long long size, const T* grad, const T* weight, T* dx, long long channels, long long each, WINDOW) {
    const Window w = THE_WINDOW;
    const INDEX outputs = channels * each;
    FOR_EACH(i, size) {
        const Place p = place(i, w.in, channels);
        SUM sum = 0;
        each_tap<Output>(p.at, w, [&](INDEX t, const INDEX* output) {
            const INDEX from = pixel(p.image, output, w.out, outputs);
            for (INDEX k = p.channel * (INDEX)each; k < (p.channel + 1) * (INDEX)each; k++)
                sum += (SUM)grad[from + k] * (SUM)weight[t * outputs + k];
        });
        dx[i] = (T)sum;
    }
}

// dw (parts, taps, C*K): each part the sum over `length` pixels in a row.
extern "C" __global__ void depthwise_weight(
    long long size, const T* grad, const T* x, SUM* dw, long long channels, long long each, long long pixels,
    long long length, WINDOW) {
    const Window w = THE_WINDOW;
    const INDEX count = w.kernel[0] * w.kernel[1] * w.kernel[2], outputs = channels * each;
    FOR_EACH(i, size) {
        const INDEX k = i % outputs, t = i / outputs % count, first = i / outputs / count * (INDEX)length;
        SUM sum = 0;
        INDEX r[3], input[3];
        tap(t, w, r);
        const INDEX rest = (INDEX)pixels - first, stop = first + (rest < length ? rest : (INDEX)length);
        Place p = place(first, w.out, 1);
        for (INDEX j = first; j < stop; j++, next_pixel(p, w.out)) {
            if (!find_input(p.at, r, w, input)) continue;
            sum += (SUM)grad[j * outputs + k] * (SUM)x[pixel(p.image, input, w.in, channels) + k / (INDEX)each];
        }
        dw[i] = sum;
    }
}
