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
    long long size, const SUM* col, T* dx, long long groups, long long channels, long long pixels, WINDOW) {
    const Window w = THE_WINDOW;
    const INDEX count = w.kernel[0] * w.kernel[1] * w.kernel[2];
    FOR_EACH(i, size) {
        const Place p = place(i, w.in, groups * channels);
        const INDEX group = p.channel / (INDEX)channels, c = p.channel % (INDEX)channels;
        Sums<1> sums;
        each_tap<Output>(p.at, w, [&](INDEX t, const INDEX* output) {
            const INDEX row = group * (INDEX)pixels + pixel(p.image, output, w.out, 1);
            sums.part[0] += col[(row * count + t) * (INDEX)channels + c];
            sums.next();
        });
        dx[i] = (T)sums.of(0);
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

// y (N, *out, C*K) with K kernels (taps, C*K), each of one channel, for every channel of x (N, *in, C). With K = 1 a
// thread has V neighbouring channels.
template <int V>
__device__ inline void spread(
    long long size, const T* x, const T* weight, T* y, const T* bias, INDEX channels, INDEX each, INDEX bounds,
    double low, double high, const Window& w) {
    const INDEX outputs = channels * each;
    const bool at_once = whole<V>(x, weight, y);
    FOR_EACH(i, size / V) {
        const Place p = place(i, w.out, outputs / V);
        const INDEX c = p.channel * V;
        Sums<V> sums;
        each_tap<Input>(p.at, w, [&](INDEX t, const INDEX* input) {
            const Lanes<V> values = load<V>(x + pixel(p.image, input, w.in, channels) + c / each, at_once);
            const Lanes<V> factors = load<V>(weight + t * outputs + c, at_once);
            for (int k = 0; k < V; k++) sums.part[k] += (SUM)values.at[k] * (SUM)factors.at[k];
            sums.next();
        });
        Lanes<V> result;
        for (int k = 0; k < V; k++) {
            const SUM sum = sums.of(k) + (bias ? (SUM)bias[c + k] : (SUM)0);
            result.at[k] = (T)bounded(sum, bounds, low, high);
        }
        store<V>(y + i * V, result, at_once);
    }
}

extern "C" __global__ void depthwise(
    long long size, const T* x, const T* weight, T* y, const T* bias, long long channels, long long each,
    long long bounds, double low, double high, long long lanes, WINDOW) {
    BY_LANES(lanes, spread, size, x, weight, y, bias, channels, each, bounds, low, high, THE_WINDOW);
}

template <int V>
__device__ inline void gather(
    long long size, const T* grad, const T* weight, T* dx, INDEX channels, INDEX each, const Window& w) {
    const INDEX outputs = channels * each;
    const bool at_once = whole<V>(grad, weight, dx);
    FOR_EACH(i, size / V) {
        const Place p = place(i, w.in, channels / V);
        const INDEX first = p.channel * V * each;
        Sums<V> sums;
        each_tap<Output>(p.at, w, [&](INDEX t, const INDEX* output) {
            const INDEX from = pixel(p.image, output, w.out, outputs);
            for (INDEX c = first; c < first + each; c++) {  // once where V is not 1
                const Lanes<V> slopes = load<V>(grad + from + c, at_once);
                const Lanes<V> factors = load<V>(weight + t * outputs + c, at_once);
                for (int k = 0; k < V; k++) sums.part[k] += (SUM)slopes.at[k] * (SUM)factors.at[k];
                sums.next();
            }
        });
        Lanes<V> result;
        for (int k = 0; k < V; k++) result.at[k] = (T)sums.of(k);
        store<V>(dx + i * V, result, at_once);
    }
}

extern "C" __global__ void depthwise_input(
    long long size, const T* grad, const T* weight, T* dx, long long channels, long long each, long long lanes,
    WINDOW) {
    BY_LANES(lanes, gather, size, grad, weight, dx, channels, each, THE_WINDOW);
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
