// Adaptive max pooling of images (N, *in, C) to (N, *out, C). Along an axis of n inputs and m outputs, output p reads the inputs
// from p n / m up to, not with, the next integer above (p + 1) n / m, and so input h is read by the outputs from h m / n to
// ((h + 1) m - 1) / n.

#define SIZES \
    long long n0, long long n1, long long n2, long long m0, long long m1, long long m2, long long channels

// The range [from, to) of inputs of output p.
__device__ inline void inputs_of(INDEX p, INDEX n, INDEX m, INDEX& from, INDEX& to) {
    from = (INDEX)((long long)p * n / m);
    to = (INDEX)((((long long)p + 1) * n + m - 1) / m);
}

__device__ inline void outputs_of(INDEX h, INDEX n, INDEX m, INDEX& from, INDEX& to) {
    from = (INDEX)((long long)h * m / n);
    to = (INDEX)((((long long)h + 1) * m - 1) / n) + 1;
}

// y, and the index of each maximum in its image: that of the first of equal maxima, or of the last NaN.
extern "C" __global__ void adaptive_max_pool(long long size, const T* x, T* y, long long* places, SIZES) {
    const INDEX in[3] = {(INDEX)n0, (INDEX)n1, (INDEX)n2}, out[3] = {(INDEX)m0, (INDEX)m1, (INDEX)m2};
    FOR_EACH(i, size) {
        const Place p = place(i, out, (INDEX)channels);
        INDEX from[3], to[3], best = 0;
        for (int axis = 0; axis < 3; axis++) inputs_of(p.at[axis], in[axis], out[axis], from[axis], to[axis]);
        T largest = (T)(SUM)0;
        bool any = false;
        for (INDEX a = from[0]; a < to[0]; a++)
            for (INDEX b = from[1]; b < to[1]; b++)
                for (INDEX c = from[2]; c < to[2]; c++) {
                    const INDEX at[3] = {a, b, c};
                    const T value = x[pixel(p.image, at, in, (INDEX)channels) + p.channel];
                    const SUM v = (SUM)value, l = (SUM)largest;
                    if (!any || v > l || v != v) {
                        any = true;
                        largest = value;
                        best = (a * in[1] + b) * in[2] + c;
                    }
                }
        y[i] = largest;
        places[i] = best;
    }
}

extern "C" __global__ void adaptive_max_pool_back(
    long long size, const T* grad, const long long* places, T* dx, SIZES) {
    const INDEX in[3] = {(INDEX)n0, (INDEX)n1, (INDEX)n2}, out[3] = {(INDEX)m0, (INDEX)m1, (INDEX)m2};
    FOR_EACH(i, size) {
        const Place p = place(i, in, (INDEX)channels);
        const long long here = ((long long)p.at[0] * in[1] + p.at[1]) * in[2] + p.at[2];
        INDEX from[3], to[3];
        for (int axis = 0; axis < 3; axis++) outputs_of(p.at[axis], in[axis], out[axis], from[axis], to[axis]);
        LongSum sum;
        for (INDEX a = from[0]; a < to[0]; a++)
            for (INDEX b = from[1]; b < to[1]; b++)
                for (INDEX c = from[2]; c < to[2]; c++) {
                    const INDEX at[3] = {a, b, c}, o = pixel(p.image, at, out, (INDEX)channels) + p.channel;
                    if (places[o] == here) sum.add((SUM)grad[o]);
                }
        dx[i] = (T)(SUM)sum.all();
    }
}
