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

// out (C) as T: the sum of in (parts, C).
extern "C" __global__ void merge_last(long long size, T* out, const double* in, long long parts) {
    FOR_EACH(c, size) out[c] = (T)(SUM)merged(in + c, size, 0, parts, 1);
}

// A channel's number from an array of SUM, or of T.
__device__ inline double number(const void* values, INDEX c, bool wide) {
    return wide ? (double)((const SUM*)values)[c] : (double)(SUM)((const T*)values)[c];
}

// value += momentum * (fresh - value), in an array of SUM, or of T.
__device__ inline void follow_one(void* values, INDEX c, bool wide, double momentum, double fresh) {
    const double old = number(values, c, wide), result = old + momentum * (fresh - old);
    if (wide) ((SUM*)values)[c] = (SUM)result;
    else ((T*)values)[c] = (T)(SUM)result;
}

// found (3, C), from what `moments` found: mean, biased variance, and 1 / sqrt(variance + eps). Running statistics, if
// there are any, follow, with the unbiased variance; without a momentum they average all batches.
extern "C" __global__ void finish_moments(
    long long size, const T* x, const double* in, double* found, long long parts, long long pixels, double eps,
    void* mean, long long wide_mean, void* var, long long wide_var, const long long* batches, long long average,
    double momentum) {
    FOR_EACH(c, size) {
        const double sum = merged(in + c, size, 0, parts, 1) / pixels;
        const double square = merged(in + (INDEX)parts * (INDEX)size + c, size, 0, parts, 1) / pixels;
        double variance = square - sum * sum;
        if (variance < 0) variance = 0;  // negative by rounding; NaN stays NaN
        const double center = (double)(SUM)x[c] + sum;
        found[c] = center;
        found[c + (INDEX)size] = variance;
        found[c + 2 * (INDEX)size] = 1 / sqrt(variance + eps);
        if (!mean) continue;
        const double share = average ? 1 / (double)(*batches + 1) : momentum;  // `batch_norm` counts this one
        follow_one(mean, c, wide_mean, share, center);
        follow_one(var, c, wide_var, share, variance * ((double)pixels / (double)(pixels - 1)));
    }
}

// Whether y is a bound, at which it was cut off.
__device__ inline bool is_cut(T y, long long bounds, double low, double high) {
    return bounds > 0 && ((SUM)y <= (SUM)low || (bounds > 1 && (SUM)y >= (SUM)high));
}

// The gradient of `at_once` lanes from an address, 0 where the output was cut off.
template <int V>
__device__ inline Lanes<V> slopes_of(
    const T* grad, const T* cut, INDEX at, bool at_once, long long bounds, double low, double high) {
    Lanes<V> values = load<V>(grad + at, at_once);
    if (bounds == 0) return values;
    const Lanes<V> ends = load<V>(cut + at, at_once);
    for (int k = 0; k < V; k++)
        if (is_cut(ends.at[k], bounds, low, high)) values.at[k] = (T)0;
    return values;
}

// out (2, parts, C): sums of x, and with y of x * (y - mean). Where `cut` is at a bound, x counts as 0.
template <int V>
__device__ inline void find_sums(
    long long size, const T* __restrict__ x, const T* __restrict__ y, const double* __restrict__ mean,
    double* __restrict__ out, const T* __restrict__ cut, long long bounds, double low, double high, INDEX channels,
    INDEX pixels, INDEX parts) {
    const bool at_once = whole<V>(x, y, cut);
    FOR_EACH(i, size) {
        const INDEX part = i / (channels / V), c = i % (channels / V) * V, to = part * channels + c;
        SUM near[V] = {}, sum[V] = {}, product[V] = {};
        for (int k = 0; y && k < V; k++) near[k] = (SUM)mean[c + k];
#pragma unroll 4
        for (INDEX j = part; j < pixels; j += parts) {
            const Lanes<V> values = slopes_of<V>(x, cut, j * channels + c, at_once, bounds, low, high);
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
    long long size, const T* x, const T* y, const double* mean, double* out, const T* cut, long long bounds, double low,
    double high, long long channels, long long pixels, long long parts, long long lanes) {
    BY_LANES(lanes, find_sums, size, x, y, mean, out, cut, bounds, low, high, channels, pixels, parts);
}

// Numbers of each channel, that may be missing.
struct Affine {
    const void *weight, *bias;
    bool wide_weight, wide_bias;
};

// y = (x - mean) * inv_std * weight + bias, cut off at bounds. What the mean is above its value in SUM goes into the shift.
template <int V>
__device__ inline void normalize(
    long long size, const T* __restrict__ x, T* __restrict__ y, const double* __restrict__ mean,
    const double* __restrict__ inv_std, const Affine& affine, long long bounds, double low, double high,
    INDEX channels, INDEX pixels, INDEX parts) {
    const bool at_once = whole<V>(x, y);
    FOR_EACH(i, size) {
        const INDEX c = i % (channels / V) * V;
        SUM near[V], scale[V], shift[V];
        for (int k = 0; k < V; k++) {
            const double factor = affine.weight ? number(affine.weight, c + k, affine.wide_weight) : 1;
            const double exact = inv_std[c + k] * factor;
            const double start = affine.bias ? number(affine.bias, c + k, affine.wide_bias) : 0;
            near[k] = (SUM)mean[c + k];
            scale[k] = (SUM)exact;
            shift[k] = (SUM)(start - (mean[c + k] - (double)near[k]) * exact);
        }
#pragma unroll 4
        for (INDEX j = i / (channels / V); j < pixels; j += parts) {
            Lanes<V> values = load<V>(x + j * channels + c, at_once);
            for (int k = 0; k < V; k++) {
                const SUM value = ((SUM)values.at[k] - near[k]) * scale[k] + shift[k];
                values.at[k] = (T)bounded(value, bounds, low, high);
            }
            store<V>(y + j * channels + c, values, at_once);
        }
    }
}

extern "C" __global__ void batch_norm(
    long long size, const T* x, T* y, const double* mean, const double* inv_std, const void* weight,
    long long wide_weight, const void* bias, long long wide_bias, long long bounds, double low, double high,
    long long* batches, long long channels, long long pixels, long long parts, long long lanes) {
    const Affine affine = {weight, bias, wide_weight != 0, wide_bias != 0};
    if (batches && blockIdx.x == 0 && threadIdx.x == 0) *batches += 1;
    BY_LANES(lanes, normalize, size, x, y, mean, inv_std, affine, bounds, low, high, channels, pixels, parts);
}

// dx (unless null), dweight and dbias, from sums (2, C): of grad, of grad * (x - near).
template <int V>
__device__ inline void normalize_back(
    long long size, const T* __restrict__ grad, const T* __restrict__ x, T* __restrict__ dx,
    const double* __restrict__ mean, const double* __restrict__ inv_std, const Affine& affine,
    const double* __restrict__ sums, SUM* __restrict__ dweight_out, SUM* __restrict__ dbias_out,
    const T* __restrict__ cut, long long bounds, double low, double high, bool from_batch, INDEX channels,
    INDEX pixels, INDEX parts) {
    const bool at_once = whole<V>(grad, x, dx) && whole<V>(cut);
    FOR_EACH(i, size) {
        const INDEX c = i % (channels / V) * V, part = i / (channels / V);
        SUM near[V], a[V], b[V], shift[V];
        for (int k = 0; k < V; k++) {
            near[k] = (SUM)mean[c + k];
            const double rest = mean[c + k] - (double)near[k], dbias = sums[c + k], inv = inv_std[c + k];
            const double dweight = (sums[c + k + channels] - rest * dbias) * inv;
            if (part == 0) {
                dweight_out[c + k] = (SUM)dweight;
                dbias_out[c + k] = (SUM)dbias;
            }
            const double scale = affine.weight ? inv * number(affine.weight, c + k, affine.wide_weight) : inv;
            const double along = from_batch ? -scale / (double)pixels : 0, slope = along * inv * dweight;
            a[k] = (SUM)scale;
            b[k] = (SUM)slope;
            shift[k] = (SUM)(along * dbias - rest * slope);
        }
        if (!dx) continue;
#pragma unroll 4
        for (INDEX j = part; j < pixels; j += parts) {
            const INDEX at = j * channels + c;
            Lanes<V> result = slopes_of<V>(grad, cut, at, at_once, bounds, low, high);
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
    long long size, const T* grad, const T* x, T* dx, const double* mean, const double* inv_std, const void* weight,
    long long wide_weight, const double* sums, SUM* dweight, SUM* dbias, const T* cut, long long bounds, double low,
    double high, long long from_batch, long long channels, long long pixels, long long parts, long long lanes) {
    const Affine affine = {weight, nullptr, wide_weight != 0, false};
    BY_LANES(
        lanes, normalize_back, size, grad, x, dx, mean, inv_std, affine, sums, dweight, dbias, cut, bounds, low, high,
        from_batch, channels, pixels, parts);
}

extern "C" __global__ void follow(
    long long size, T* running, const double* fresh, double factor, const double* momentum, double same) {
    FOR_EACH(i, size) {
        const double old = (double)(SUM)running[i];
        running[i] = (T)(SUM)(old + (momentum ? *momentum : same) * (fresh[i] * factor - old));
    }
}
