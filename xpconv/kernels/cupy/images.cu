// Images and one number for each of them, for each channel, or for both: the number of element i, in the order of memory, is
// at i / image * per_image + i / inner % channels * per_channel.

#define PLACE long long image, long long inner, long long channels, long long per_image, long long per_channel

__device__ inline INDEX number_of(INDEX i, INDEX image, INDEX inner, INDEX channels, INDEX per_image, INDEX per_channel) {
    return i / image * per_image + i / inner % channels * per_channel;
}

// y = a + b, a - b, a * b or a / b.
extern "C" __global__ void arithmetic(long long size, const T* a, const T* b, T* y, long long function, PLACE) {
    FOR_EACH(i, size) {
        const SUM u = (SUM)a[i], v = (SUM)b[number_of(i, image, inner, channels, per_image, per_channel)];
        y[i] = (T)(function == 0 ? u + v : function == 1 ? u - v : function == 2 ? u * v : u / v);
    }
}

// y = x * mask * gain
extern "C" __global__ void apply_mask(long long size, const T* x, const bool* mask, T* y, double gain, PLACE) {
    FOR_EACH(i, size) {
        const bool stays = mask[number_of(i, image, inner, channels, per_image, per_channel)];
        y[i] = (T)((SUM)x[i] * (stays ? (SUM)gain : 0));
    }
}

// y (N, pixels, C) = x (N, C) * factor
extern "C" __global__ void spread(long long size, const T* x, T* y, double factor, long long pixels, long long channels) {
    FOR_EACH(i, size) {
        const INDEX c = i % (INDEX)channels, n = i / (INDEX)channels / (INDEX)pixels;
        y[i] = (T)((SUM)x[n * (INDEX)channels + c] * (SUM)factor);
    }
}

// Sums over the pixels of x (N, pixels, C), with y of x * y: part by part in sums (N, parts, C), or if there is one part in
// out (N, C), times factor.
extern "C" __global__ void image_sums(
    long long size, const T* x, const T* y, double* sums, T* out, double factor, long long pixels, long long channels,
    long long parts) {
    FOR_EACH(i, size) {
        const INDEX c = i % (INDEX)channels, part = i / (INDEX)channels % (INDEX)parts;
        const INDEX start = i / (INDEX)channels / (INDEX)parts * (INDEX)pixels;
        LongSum sum;
        for (INDEX p = part; p < pixels; p += parts) {
            const INDEX at = (start + p) * (INDEX)channels + c;
            sum.add(y ? (SUM)x[at] * (SUM)y[at] : (SUM)x[at]);
        }
        if (parts == 1)
            out[i] = (T)(SUM)(sum.all() * factor);
        else
            sums[i] = sum.all();
    }
}

extern "C" __global__ void merge_image_sums(
    long long size, const double* sums, T* out, double factor, long long channels, long long parts) {
    FOR_EACH(i, size) {
        const double* from = sums + i / (INDEX)channels * (INDEX)parts * (INDEX)channels + i % (INDEX)channels;
        double sum = 0;
        for (INDEX part = 0; part < parts; part++) sum += from[part * (INDEX)channels];
        out[i] = (T)(SUM)(sum * factor);
    }
}
