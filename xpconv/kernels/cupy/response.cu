// Local response normalisation over the channels of images (N, pixels, C), computed in SUM.

// d = k + rate * (the sum of x² over the channels from c - below to c + above), y = x / d^beta
extern "C" __global__ void response_norm(
    long long size, const T* x, T* y, SUM* d, long long channels, long long below, long long above, double rate,
    double beta, double k) {
    FOR_EACH(i, size) {
        const INDEX c = i % (INDEX)channels;
        const INDEX from = c > below ? -(INDEX)below : -c, to = c + above < channels ? (INDEX)above : (INDEX)channels - 1 - c;
        SUM sum = 0;
        for (INDEX j = from; j <= to; j++) sum += (SUM)x[i + j] * (SUM)x[i + j];
        d[i] = sum * (SUM)rate + (SUM)k;
        y[i] = (T)((SUM)x[i] * pow(d[i], (SUM)-beta));
    }
}

// dx = grad / d^beta - 2 rate beta x * (the sum of grad x / d^(beta + 1) over the mirrored window)
extern "C" __global__ void response_norm_back(
    long long size, const T* grad, const T* x, const SUM* d, T* dx, long long channels, long long below, long long above,
    double rate, double beta) {
    FOR_EACH(i, size) {
        const INDEX c = i % (INDEX)channels;
        const INDEX from = c > above ? -(INDEX)above : -c, to = c + below < channels ? (INDEX)below : (INDEX)channels - 1 - c;
        SUM sum = 0;
        for (INDEX j = from; j <= to; j++) sum += (SUM)grad[i + j] * pow(d[i + j], (SUM)-beta) * (SUM)x[i + j] / d[i + j];
        dx[i] = (T)((SUM)grad[i] * pow(d[i], (SUM)-beta) - sum * (SUM)x[i] * (SUM)(2 * rate * beta));
    }
}
