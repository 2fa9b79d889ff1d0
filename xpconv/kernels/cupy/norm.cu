// Batch normalisation of x (pixels, C). A thread has one channel and every parts-th pixel: i = part * C + c, so that
// neighbours read neighbouring memory whatever C is. Partial results are merged in float64.

// out (3, parts, C): number of values, their mean, and the sum of squares about it. Each thread takes its first value
// out, so that squares stay exact where mean² is far above the variance.
extern "C" __global__ void moments(
    long long size, const T* x, double* out, long long channels, long long pixels, long long parts) {
    FOR_EACH(i, size) {
        const INDEX part = i / (INDEX)channels, c = i % (INDEX)channels;
        const T first = x[i];
        SUM sum = 0, square = 0;
        INDEX count = 0;
        for (INDEX j = part; j < pixels; j += parts) {
            const SUM rest = (SUM)x[j * (INDEX)channels + c] - (SUM)first;
            sum += rest;
            square += rest * rest;
            count++;
        }
        out[i] = count;
        out[i + (INDEX)size] = (double)(SUM)first + (double)sum / count;
        out[i + 2 * (INDEX)size] = (double)square - (double)sum * (double)sum / count;
    }
}

// (3, parts, C) to (3, fewer, C), as Chan, Golub and LeVeque (1979) add two such triples.
extern "C" __global__ void merge_moments(
    long long size, const double* in, double* out, long long channels, long long parts, long long fewer) {
    const INDEX whole = (INDEX)parts * (INDEX)channels;
    FOR_EACH(i, size) {
        const INDEX c = i % (INDEX)channels;
        double count = 0, mean = 0, square = 0;
        for (INDEX part = i / (INDEX)channels; part < parts; part += fewer) {
            const INDEX at = part * (INDEX)channels + c;
            const double n = in[at], distance = in[at + whole] - mean;
            square += in[at + 2 * whole] + distance * distance * (count * n / (count + n));
            count += n;
            mean += distance * (n / count);
        }
        out[i] = count;
        out[i + (INDEX)size] = mean;
        out[i + 2 * (INDEX)size] = fewer == 1 ? square / count : square;  // the variance, at last
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

// (K, parts, C) to (K, fewer, C); size = K * fewer * C.
extern "C" __global__ void merge_sums(
    long long size, const double* in, double* out, long long channels, long long parts, long long fewer) {
    FOR_EACH(i, size) {
        const INDEX c = i % (INDEX)channels, k = i / (INDEX)channels / (INDEX)fewer;
        double sum = 0;
        for (INDEX part = i / (INDEX)channels % (INDEX)fewer; part < parts; part += fewer)
            sum += in[(k * (INDEX)parts + part) * (INDEX)channels + c];
        out[i] = sum;
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
