// Pooling: forward a thread has V neighbouring channels of an output, backward of an input, which gathers from the
// outputs that saw it. `size` counts outputs (inputs) of single channels.

template <int V, class Winner>
__device__ inline void max_pool(long long size, const T* x, T* y, Winner* winner, INDEX channels, const Window& w) {
    const Winner unset = sizeof(Winner) == 1 ? 255 : 2147483647;
    const bool at_once = whole<V>(x, y);
    FOR_EACH(i, size / V) {
        const Place p = place(i, w.out, channels / V);
        SUM best[V];
        Winner who[V];
        for (int k = 0; k < V; k++) best[k] = -INFINITY, who[k] = unset;
        each_tap<Input>(p.at, w, [&](INDEX t, const INDEX* input) {
            const T* from = x + pixel(p.image, input, w.in, channels) + p.channel * V;
            const Lanes<V> values = load<V>(from, at_once);
            for (int k = 0; k < V; k++) {
                const SUM value = (SUM)values.at[k];
                if (value > best[k] || value != value || who[k] == unset) {
                    best[k] = value;
                    who[k] = t;
                }
            }
        });
        Lanes<V> result;
        for (int k = 0; k < V; k++) result.at[k] = (T)best[k];
        store<V>(y + i * V, result, at_once);
        for (int k = 0; winner && k < V; k++) winner[i * V + k] = who[k];
    }
}

template <int V, class Winner>
__device__ inline void max_pool_back(
    long long size, const T* grad, const Winner* winner, T* dx, INDEX channels, const Window& w) {
    const bool at_once = whole<V>(grad, dx);
    FOR_EACH(i, size / V) {
        const Place p = place(i, w.in, channels / V);
        SUM sum[V] = {};
        each_tap<Output>(p.at, w, [&](INDEX t, const INDEX* output) {
            const INDEX from = pixel(p.image, output, w.out, channels) + p.channel * V;
            const Lanes<V> slopes = load<V>(grad + from, at_once);
            for (int k = 0; k < V; k++)
                if ((INDEX)winner[from + k] == t) sum[k] += (SUM)slopes.at[k];
        });
        Lanes<V> result;
        for (int k = 0; k < V; k++) result.at[k] = (T)sum[k];
        store<V>(dx + i * V, result, at_once);
    }
}

// y (…, out, C) = sums of x (…, in, C) over windows; the reverse with `Output`.
template <int V, class Other>
__device__ inline void sums(
    long long size, const T* x, T* y, INDEX channels, const Window& w, const INDEX* here, const INDEX* there) {
    const bool at_once = whole<V>(x, y);
    FOR_EACH(i, size / V) {
        const Place p = place(i, here, channels / V);
        SUM sum[V] = {};
        each_tap<Other>(p.at, w, [&](INDEX, const INDEX* to) {
            const Lanes<V> values = load<V>(x + pixel(p.image, to, there, channels) + p.channel * V, at_once);
            for (int k = 0; k < V; k++) sum[k] += (SUM)values.at[k];
        });
        Lanes<V> result;
        for (int k = 0; k < V; k++) result.at[k] = (T)sum[k];
        store<V>(y + i * V, result, at_once);
    }
}

extern "C" __global__ void max_pool_uint8(
    long long size, const T* x, T* y, unsigned char* winner, long long channels, long long lanes, WINDOW) {
    BY_LANES(lanes, max_pool, size, x, y, winner, channels, THE_WINDOW);
}

extern "C" __global__ void max_pool_int32(
    long long size, const T* x, T* y, int* winner, long long channels, long long lanes, WINDOW) {
    BY_LANES(lanes, max_pool, size, x, y, winner, channels, THE_WINDOW);
}

extern "C" __global__ void max_pool_back_uint8(
    long long size, const T* grad, const unsigned char* winner, T* dx, long long channels, long long lanes, WINDOW) {
    BY_LANES(lanes, max_pool_back, size, grad, winner, dx, channels, THE_WINDOW);
}

extern "C" __global__ void max_pool_back_int32(
    long long size, const T* grad, const int* winner, T* dx, long long channels, long long lanes, WINDOW) {
    BY_LANES(lanes, max_pool_back, size, grad, winner, dx, channels, THE_WINDOW);
}

extern "C" __global__ void sum_pool(
    long long size, const T* x, T* y, long long channels, long long lanes, WINDOW) {
    const Window w = THE_WINDOW;
    lanes == 4 ? sums<4, Input>(size, x, y, channels, w, w.out, w.in)
               : sums<1, Input>(size, x, y, channels, w, w.out, w.in);
}

extern "C" __global__ void sum_pool_back(
    long long size, const T* grad, T* dx, long long channels, long long lanes, WINDOW) {
    const Window w = THE_WINDOW;
    lanes == 4 ? sums<4, Output>(size, grad, dx, channels, w, w.in, w.out)
               : sums<1, Output>(size, grad, dx, channels, w, w.in, w.out);
}
