// Batch normalisation of x (pixels, C). A thread has V neighbouring channels and every parts-th pixel, so that neighbours
// read neighbouring memory whatever C is: i = part * C/V + c/V. Partial results are merged in float64.

// out (2, parts, C): sums of x - near and of its square, where near is the channel's first value of all. Each thread
// adds about a first value of its own, so that squares stay exact where mean² is far above the variance.
template <int V>
__device__ inline void find_moments(
    long long size, const T* __restrict__ x, double* __restrict__ out, INDEX channels, INDEX pixels, INDEX parts) {
    const bool at_once = whole<V>(x);
    FOR_EACH(i, size) {
        const INDEX part = i / (channels / V), c = i % (channels / V) * V;
        const Lanes<V> first = load<V>(x + part * channels + c, at_once);
        SUM sum[V] = {}, square[V] = {};
#pragma unroll 4  // so that several values are on their way from memory at once
        for (INDEX j = part; j < pixels; j += parts) {
            const Lanes<V> values = load<V>(x + j * channels + c, at_once);
            for (int k = 0; k < V; k++) {
                const SUM rest = (SUM)values.at[k] - (SUM)first.at[k];
                sum[k] += rest;
                square[k] += rest * rest;
            }
        }
        const INDEX count = (pixels - part + parts - 1) / parts, to = part * channels + c;
        for (int k = 0; k < V; k++) {
            const double shift = (double)(SUM)first.at[k] - (double)(SUM)x[c + k];
            out[to + k] = sum[k] + count * shift;
            out[to + k + parts * channels] = square[k] + shift * (2 * (double)sum[k] + count * shift);
        }
    }
}

extern "C" __global__ void moments(
    long long size, const T* x, double* out, long long channels, long long pixels, long long parts, long long lanes) {
    BY_LANES(lanes, find_moments, size, x, out, channels, pixels, parts);
}

// The sum of in (parts, C) over the parts.
__device__ inline double merged(const double* in, INDEX channels, INDEX part, INDEX parts, INDEX step) {
    double sum = 0;
#pragma unroll 8
    for (; part < parts; part += step) sum += in[part * channels];
    return sum;
}

// (K, parts, C) to (K, fewer, C); size = K * fewer * C.
extern "C" __global__ void merge_sums(
    long long size, const double* in, double* out, long long channels, long long parts, long long fewer) {
    FOR_EACH(i, size) {
        const INDEX c = i % (INDEX)channels, k = i / (INDEX)channels / (INDEX)fewer;
        const INDEX part = i / (INDEX)channels % (INDEX)fewer;
        out[i] = merged(in + k * (INDEX)parts * (INDEX)channels + c, channels, part, parts, fewer);
    }
}

// The mean and the biased variance (2, C), from what `moments` found.
extern "C" __global__ void merge_moments(
    long long size, const T* x, const double* in, double* out, long long parts, long long pixels) {
    FOR_EACH(c, size) {
        const double sum = merged(in + c, size, 0, parts, 1) / pixels;
        const double square = merged(in + (INDEX)parts * (INDEX)size + c, size, 0, parts, 1) / pixels;
        const double variance = square - sum * sum;
        out[c] = (double)(SUM)x[c] + sum;
        out[c + (INDEX)size] = variance < 0 ? 0 : variance;  // by rounding; NaN stays
    }
}

// out (2, parts, C): sums of x, and with y of x * (y - mean).
template <int V>
__device__ inline void find_sums(
    long long size, const T* __restrict__ x, const T* __restrict__ y, const double* __restrict__ mean,
    double* __restrict__ out, INDEX channels, INDEX pixels, INDEX parts) {
    const bool at_once = whole<V>(x, y);
    FOR_EACH(i, size) {
        const INDEX part = i / (channels / V), c = i % (channels / V) * V, to = part * channels + c;
        SUM near[V] = {}, sum[V] = {}, product[V] = {};
        for (int k = 0; y && k < V; k++) near[k] = (SUM)mean[c + k];
#pragma unroll 4
        for (INDEX j = part; j < pixels; j += parts) {
            const Lanes<V> values = load<V>(x + j * channels + c, at_once);
            for (int k = 0; k < V; k++) sum[k] += (SUM)values.at[k];
            if (!y) continue;
            const Lanes<V> others = load<V>(y + j * channels + c, at_once);
            for (int k = 0; k < V; k++) product[k] += (SUM)values.at[k] * ((SUM)others.at[k] - near[k]);
        }
        for (int k = 0; k < V; k++) {
            out[to + k] = sum[k];
            if (y) out[to + k + parts * channels] = product[k];
        }
    }
}

extern "C" __global__ void channel_sums(
    long long size, const T* x, const T* y, const double* mean, double* out, long long channels, long long pixels,
    long long parts, long long lanes) {
    BY_LANES(lanes, find_sums, size, x, y, mean, out, channels, pixels, parts);
}

// y = (x - mean) * inv_std * weight + bias. What the mean is above its value in SUM goes into the shift.
template <int V>
__device__ inline void normalize(
    long long size, const T* __restrict__ x, T* __restrict__ y, const double* __restrict__ mean,
    const double* __restrict__ inv_std, const SUM* __restrict__ weight, const SUM* __restrict__ bias, INDEX channels,
    INDEX pixels, INDEX parts) {
    const bool at_once = whole<V>(x, y);
    FOR_EACH(i, size) {
        const INDEX c = i % (channels / V) * V;
        SUM near[V], scale[V], shift[V];
        for (int k = 0; k < V; k++) {
            const double exact = weight ? inv_std[c + k] * (double)weight[c + k] : inv_std[c + k];
            near[k] = (SUM)mean[c + k];
            scale[k] = (SUM)exact;
            shift[k] = (SUM)((bias ? (double)bias[c + k] : 0) - (mean[c + k] - (double)near[k]) * exact);
        }
#pragma unroll 4
        for (INDEX j = i / (channels / V); j < pixels; j += parts) {
            Lanes<V> values = load<V>(x + j * channels + c, at_once);
            for (int k = 0; k < V; k++) values.at[k] = (T)(((SUM)values.at[k] - near[k]) * scale[k] + shift[k]);
            store<V>(y + j * channels + c, values, at_once);
        }
    }
}

extern "C" __global__ void batch_norm(
    long long size, const T* x, T* y, const double* mean, const double* inv_std, const SUM* weight, const SUM* bias,
    long long channels, long long pixels, long long parts, long long lanes) {
    BY_LANES(lanes, normalize, size, x, y, mean, inv_std, weight, bias, channels, pixels, parts);
}

// dx (unless null), and slopes (2, C): dweight and dbias, from sums (2, C): of grad, of grad * (x - near).
template <int V>
__device__ inline void normalize_back(
    long long size, const T* __restrict__ grad, const T* __restrict__ x, T* __restrict__ dx,
    const double* __restrict__ mean, const double* __restrict__ inv_std, const SUM* __restrict__ weight,
    const double* __restrict__ sums, double* __restrict__ slopes, bool from_batch, INDEX channels, INDEX pixels,
    INDEX parts) {
    const bool at_once = whole<V>(grad, x, dx);
    FOR_EACH(i, size) {
        const INDEX c = i % (channels / V) * V, part = i / (channels / V);
        SUM near[V], a[V], b[V], shift[V];
        for (int k = 0; k < V; k++) {
            near[k] = (SUM)mean[c + k];
            const double rest = mean[c + k] - (double)near[k], dbias = sums[c + k], inv = inv_std[c + k];
            const double dweight = (sums[c + k + channels] - rest * dbias) * inv;
            if (part == 0) {
                slopes[c + k] = dweight;
                slopes[c + k + channels] = dbias;
            }
            const double scale = weight ? inv * (double)weight[c + k] : inv;
            const double along = from_batch ? -scale / (double)pixels : 0, slope = along * inv * dweight;
            a[k] = (SUM)scale;
            b[k] = (SUM)slope;
            shift[k] = (SUM)(along * dbias - rest * slope);
        }
        if (!dx) continue;
#pragma unroll 4
        for (INDEX j = part; j < pixels; j += parts) {
            const INDEX at = j * channels + c;
            Lanes<V> result = load<V>(grad + at, at_once);
            if (from_batch) {
                const Lanes<V> values = load<V>(x + at, at_once);
                for (int k = 0; k < V; k++)
                    result.at[k] = (T)((SUM)result.at[k] * a[k] + (((SUM)values.at[k] - near[k]) * b[k] + shift[k]));
            } else {
                for (int k = 0; k < V; k++) result.at[k] = (T)((SUM)result.at[k] * a[k]);
            }
            store<V>(dx + at, result, at_once);
        }
    }
}

extern "C" __global__ void batch_norm_back(
    long long size, const T* grad, const T* x, T* dx, const double* mean, const double* inv_std, const SUM* weight,
    const double* sums, double* slopes, long long from_batch, long long channels, long long pixels, long long parts,
    long long lanes) {
    BY_LANES(
        lanes, normalize_back, size, grad, x, dx, mean, inv_std, weight, sums, slopes, from_batch, channels, pixels,
        parts);
}

extern "C" __global__ void follow(
    long long size, T* running, const double* fresh, double factor, const double* momentum, double same) {
    FOR_EACH(i, size) {
        const double old = (double)(SUM)running[i];
        running[i] = (T)(SUM)(old + (momentum ? *momentum : same) * (fresh[i] * factor - old));
    }
}
