// Pooling: forward a thread an output, backward a thread an input, which gathers from the outputs that saw it.

template <class Winner>
__device__ void max_pool(long long size, const T* x, T* y, Winner* winner, long long channels, const Window& w) {
    const INDEX unset = sizeof(Winner) == 1 ? 255 : 2147483647;
    FOR_EACH(i, size) {
        const Place p = place(i, w.out, channels);
        SUM best = -INFINITY;
        INDEX who = unset;
        each_tap<Input>(p.at, w, [&](INDEX t, const INDEX* input) {
            const SUM value = (SUM)x[pixel(p.image, input, w.in, channels) + p.channel];
            if (value > best || value != value || who == unset) {
                best = value;
                who = t;
            }
        });
        y[i] = (T)best;
        if (winner) winner[i] = who;
    }
}

template <class Winner>
__device__ void max_pool_back(
    long long size, const T* grad, const Winner* winner, T* dx, long long channels, const Window& w) {
    FOR_EACH(i, size) {
        const Place p = place(i, w.in, channels);
        SUM sum = 0;
        each_tap<Output>(p.at, w, [&](INDEX t, const INDEX* output) {
            const INDEX from = pixel(p.image, output, w.out, channels) + p.channel;
            if ((INDEX)winner[from] == t) sum += (SUM)grad[from];
        });
        dx[i] = (T)sum;
    }
}

extern "C" __global__ void max_pool_uint8(
    long long size, const T* x, T* y, unsigned char* winner, long long channels, WINDOW) {
    max_pool(size, x, y, winner, channels, THE_WINDOW);
}

extern "C" __global__ void max_pool_int32(long long size, const T* x, T* y, int* winner, long long channels, WINDOW) {
    max_pool(size, x, y, winner, channels, THE_WINDOW);
}

extern "C" __global__ void max_pool_back_uint8(
    long long size, const T* grad, const unsigned char* winner, T* dx, long long channels, WINDOW) {
    max_pool_back(size, grad, winner, dx, channels, THE_WINDOW);
}

extern "C" __global__ void max_pool_back_int32(
    long long size, const T* grad, const int* winner, T* dx, long long channels, WINDOW) {
    max_pool_back(size, grad, winner, dx, channels, THE_WINDOW);
}

extern "C" __global__ void sum_pool(long long size, const T* x, T* y, long long channels, WINDOW) {
    const Window w = THE_WINDOW;
    FOR_EACH(i, size) {
        const Place p = place(i, w.out, channels);
        SUM sum = 0;
        each_tap<Input>(p.at, w, [&](INDEX, const INDEX* input) {
            sum += (SUM)x[pixel(p.image, input, w.in, channels) + p.channel];
        });
        y[i] = (T)sum;
    }
}

extern "C" __global__ void sum_pool_back(long long size, const T* grad, T* dx, long long channels, WINDOW) {
    const Window w = THE_WINDOW;
    FOR_EACH(i, size) {
        const Place p = place(i, w.in, channels);
        SUM sum = 0;
        each_tap<Output>(p.at, w, [&](INDEX, const INDEX* output) {
            sum += (SUM)grad[pixel(p.image, output, w.out, channels) + p.channel];
        });
        dx[i] = (T)sum;
    }
}
