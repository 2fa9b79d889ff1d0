// Batch normalisation of x (pixels, C). A thread has one channel and every parts-th pixel: i = part * C + c, so that
// neighbours read neighbouring memory whatever C is. Partial results are merged in float64.

// out (2, parts, C): sums of x - near and of its square, where near is the channel's first value of all. Each thread
// adds about a first value of its own, so that squares stay exact where mean² is far above the variance.
extern "C" __global__ void moments(
    long long size, const T* x, double* out, long long channels, long long pixels, long long parts) {
    FOR_EACH(i, size) {
        const INDEX part = i / (INDEX)channels, c = i % (INDEX)channels;
        const SUM first = (SUM)x[i];
        SUM sum = 0, square = 0;
        INDEX count = 0;
        for (INDEX j = part; j < pixels; j += parts, count++) {
            const SUM rest = (SUM)x[j * (INDEX)channels + c] - first;
            sum += rest;
            square += rest * rest;
        }
        const double shift = (double)first - (double)(SUM)x[c];
        out[i] = sum + count * shift;
        out[i + (INDEX)size] = square + shift * (2 * (double)sum + count * shift);
    }
}

// The sum of in (parts, C) over the parts.
__device__ inline double merged(const double* in, INDEX channels, INDEX part, INDEX parts, INDEX step) {
    double sum = 0;
#pragma unroll 8  // so that eight numbers are on their way from memory at once
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
extern "C" __global__ void channel_sums(
    long long size, const T* x, const T* y, const double* mean, double* out, long long channels, long long pixels,
    long long parts) {
    FOR_EACH(i, size) {
        const INDEX c = i % (INDEX)channels;
        const SUM near = y ? (SUM)mean[c] : (SUM)0;
        SUM sum = 0, product = 0;
        for (INDEX j = i / (INDEX)channels; j < pixels; j += parts) {
            const SUM value = (SUM)x[j * (INDEX)channels + c];
            sum += value;
            if (y) product += value * ((SUM)y[j * (INDEX)channels + c] - near);
        }
        out[i] = sum;
        if (y) out[i + (INDEX)size] = product;
    }
}

// y = (x - mean) * inv_std * weight + bias. What the mean is above its value in SUM goes into the shift.
extern "C" __global__ void batch_norm(
    long long size, const T* x, T* y, const double* mean, const double* inv_std, const SUM* weight, const SUM* bias,
    long long channels, long long pixels, long long parts) {
    FOR_EACH(i, size) {
        const INDEX c = i % (INDEX)channels;
        const SUM near = (SUM)mean[c];
        const double exact = weight ? inv_std[c] * (double)weight[c] : inv_std[c];
        const SUM scale = (SUM)exact;
        const SUM shift = (SUM)((bias ? (double)bias[c] : 0) - (mean[c] - (double)near) * exact);
        for (INDEX j = i / (INDEX)channels; j < pixels; j += parts) {
            const INDEX at = j * (INDEX)channels + c;
            y[at] = (T)(((SUM)x[at] - near) * scale + shift);
        }
    }
}

// dx (unless null), and slopes (2, C): dweight and dbias, from sums (2, C): of grad, of grad * (x - near).
extern "C" __global__ void batch_norm_back(
    long long size, const T* grad, const T* x, T* dx, const double* mean, const double* inv_std, const SUM* weight,
    const double* sums, double* slopes, long long from_batch, long long channels, long long pixels, long long parts) {
    FOR_EACH(i, size) {
        const INDEX c = i % (INDEX)channels, part = i / (INDEX)channels;
        const SUM near = (SUM)mean[c];
        const double rest = mean[c] - (double)near, dbias = sums[c];
        const double dweight = (sums[c + (INDEX)channels] - rest * dbias) * inv_std[c];
        if (part == 0) {
            slopes[c] = dweight;
            slopes[c + (INDEX)channels] = dbias;
        }
        if (!dx) continue;
        const double scale = weight ? inv_std[c] * (double)weight[c] : inv_std[c];
        const double along = from_batch ? -scale / (double)pixels : 0, slope = along * inv_std[c] * dweight;
        const SUM a = (SUM)scale, b = (SUM)slope, shift = (SUM)(along * dbias - rest * slope);
        for (INDEX j = part; j < pixels; j += parts) {
            const INDEX at = j * (INDEX)channels + c;
            dx[at] = (T)((SUM)grad[at] * a + (from_batch ? ((SUM)x[at] - near) * b + shift : (SUM)0));
        }
    }
}

extern "C" __global__ void follow(
    long long size, T* running, const double* fresh, double factor, const double* momentum, double same) {
    FOR_EACH(i, size) {
        const double old = (double)(SUM)running[i];
        running[i] = (T)(SUM)(old + (momentum ? *momentum : same) * (fresh[i] * factor - old));
    }
}
