// Normalisation of rows of x, of `length` elements each: layer norm, or group norm, where a row has several runs. A row is
// computed by a warp, or by a whole block if it is long. Row r begins at r / groups * image + r % groups * run. Its elements
// are runs of `run` neighbours, `step` apart. Element k of a run has the weight number r % groups * run + k.

struct Rows {
    INDEX length, run, step, groups, image;
    __device__ INDEX start(INDEX row) const { return row / groups * image + row % groups * run; }
    __device__ INDEX at(INDEX e) const { return run == length ? e : e / run * step + e % run; }
    __device__ INDEX channel(INDEX row, INDEX e) const { return groups == 1 && run == length ? e : row % groups * run + e % run; }
};

#define ROWS long long rows, long long length, long long run, long long step, long long groups, long long image
#define THE_ROWS Rows{(INDEX)length, (INDEX)run, (INDEX)step, (INDEX)groups, (INDEX)image}

struct Sum {
    template <class V>
    __device__ V operator()(V a, V b) const { return a + b; }
};

struct Larger {  // the maximum; NaN if an operand is NaN
    template <class V>
    __device__ V operator()(V a, V b) const { return b > a || b != b ? b : a; }
};

// Reduction over the 32 threads of a warp, all of which get the result.
template <class V, class F>
__device__ inline V over_warp(V value, F join) {
    for (int step = 16; step > 0; step /= 2) value = join(value, __shfl_xor_sync(0xffffffffu, value, step));
    return value;
}

// Sum over the team of a row, which is a warp or the block. The rows of a warp are so short that SUM is exact enough.
template <class F>
__device__ inline double over_team(double value, bool of_block, F join) {
    if (!of_block) return (double)over_warp((SUM)value, join);
    __shared__ double warps[32];
    value = over_warp(value, join);
    __syncthreads();  // all threads have read the previous contents
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    value = warps[0];
    for (unsigned w = 1; w < blockDim.x / 32; w++) value = join(value, warps[w]);
    return value;
}

__device__ inline double sum_over_team(double value, bool of_block) {
    return over_team(value, of_block, Sum());
}

// `lane` is the thread's place in its team, whose rows are f's argument.
template <class F>
__device__ inline void each_row(INDEX rows, bool of_block, F f) {
    const unsigned team = of_block ? blockDim.x : 32, teams = blockDim.x / team;
    for (INDEX row = blockIdx.x * (INDEX)teams + threadIdx.x / team; row < rows; row += (INDEX)gridDim.x * teams)
        f(row, (INDEX)(threadIdx.x % team), (INDEX)team);
}

// y = (x - mean) * inv * weight + bias, and statistics (2, rows): the mean (0 if not centred) and inv = 1/sqrt(var + eps).
extern "C" __global__ void row_norm(
    long long size, const T* x, T* y, double* statistics, const T* weight, const T* bias, double eps, long long centred,
    long long of_block, ROWS) {
    const Rows w = THE_ROWS;
    each_row((INDEX)rows, of_block, [=](INDEX row, INDEX lane, INDEX team) {
        const T* from = x + w.start(row);
        double mean = 0;
        if (centred) {
            LongSum sum;
            const SUM first = (SUM)from[0];
            for (INDEX e = lane; e < w.length; e += team) sum.add((SUM)from[w.at(e)] - first);
            mean = (double)first + sum_over_team(sum.all(), of_block) / (double)w.length;
        }
        const SUM near = (SUM)mean;
        LongSum rests, squares;
        for (INDEX e = lane; e < w.length; e += team) {
            const SUM rest = (SUM)from[w.at(e)] - near;
            if (centred) rests.add(rest);
            squares.add(rest * rest);
        }
        const double square = sum_over_team(squares.all(), of_block) / (double)w.length;
        const double low = sum_over_team(rests.all(), of_block) / (double)w.length;  // what the mean is above `near`
        const double var = square - low * low, inv = 1 / sqrt((var < 0 ? 0 : var) + eps);
        if (lane == 0) {
            statistics[row] = (double)near + low;
            statistics[row + (INDEX)rows] = inv;
        }
        T* to = y + w.start(row);
        for (INDEX e = lane; e < w.length; e += team) {
            SUM value = ((SUM)from[w.at(e)] - near - (SUM)low) * (SUM)inv;
            if (weight) value *= (SUM)weight[w.channel(row, e)];
            if (bias) value += (SUM)bias[w.channel(row, e)];
            to[w.at(e)] = (T)value;
        }
    });
}

// x̂ of the normalised row.
struct Hat {
    SUM near, low, inv;
    __device__ Hat(const double* statistics, INDEX row, INDEX rows) {
        near = (SUM)statistics[row];
        low = (SUM)(statistics[row] - (double)near);
        inv = (SUM)statistics[row + rows];
    }
    __device__ SUM operator()(T x) const { return ((SUM)x - near - low) * inv; }
};

// dx = inv (g - mean(g) - x̂ mean(g x̂)) with g = grad * weight; without mean(g) if not centred.
extern "C" __global__ void row_norm_back(
    long long size, const T* grad, const T* x, T* dx, const double* statistics, const T* weight, long long centred,
    long long of_block, ROWS) {
    const Rows w = THE_ROWS;
    each_row((INDEX)rows, of_block, [=](INDEX row, INDEX lane, INDEX team) {
        const INDEX start = w.start(row);
        const Hat hat(statistics, row, (INDEX)rows);
        LongSum sum, product;
        for (INDEX e = lane; e < w.length; e += team) {
            const INDEX at = start + w.at(e);
            const SUM g = weight ? (SUM)grad[at] * (SUM)weight[w.channel(row, e)] : (SUM)grad[at];
            sum.add(g);
            product.add(g * hat(x[at]));
        }
        const double mean = centred ? sum_over_team(sum.all(), of_block) / (double)w.length : 0;
        const double slope = sum_over_team(product.all(), of_block) / (double)w.length;
        for (INDEX e = lane; e < w.length; e += team) {
            const INDEX at = start + w.at(e);
            const SUM g = weight ? (SUM)grad[at] * (SUM)weight[w.channel(row, e)] : (SUM)grad[at];
            dx[at] = (T)((g - (SUM)mean - hat(x[at]) * (SUM)slope) * hat.inv);
        }
    });
}

// out (2, parts, channels): sums of grad * x̂ and of grad over every parts-th pixel; `per_image` pixels share their rows.
extern "C" __global__ void row_norm_slopes(
    long long size, const T* grad, const T* x, const double* statistics, double* out, long long rows, long long run,
    long long groups, long long channels, long long pixels, long long per_image, long long parts) {
    FOR_EACH(i, size) {
        const INDEX part = i / (INDEX)channels, c = i % (INDEX)channels;
        LongSum slope, sum;
        for (INDEX q = part; q < pixels; q += parts) {
            const INDEX at = q * (INDEX)channels + c;
            const Hat hat(statistics, q / (INDEX)per_image * (INDEX)groups + c / (INDEX)run, (INDEX)rows);
            slope.add((SUM)grad[at] * hat(x[at]));
            sum.add((SUM)grad[at]);
        }
        out[i] = slope.all();
        out[i + (INDEX)size] = sum.all();
    }
}

// Sums over the parts: (2, parts, channels) to (2, channels). Each sum is computed by a warp, or by one thread for few parts.
extern "C" __global__ void merge_slopes(
    long long size, const double* in, T* out, long long count, long long channels, long long parts, long long alone) {
    const INDEX stride = (INDEX)channels;
    if (alone) {
        FOR_EACH(i, count) {
            double sum = 0;
            for (INDEX part = 0; part < parts; part++) sum += in[(i / stride * (INDEX)parts + part) * stride + i % stride];
            out[i] = (T)(SUM)sum;
        }
        return;
    }
    each_row((INDEX)count, false, [=](INDEX i, INDEX lane, INDEX team) {
        const double* from = in + i / stride * (INDEX)parts * stride + i % stride;
        double sum = 0;
        for (INDEX part = lane; part < parts; part += team) sum += from[part * stride];
        sum = over_warp(sum, Sum());
        if (lane == 0) out[i] = (T)(SUM)sum;
    });
}

// y = softmax(x), or log softmax(x).
extern "C" __global__ void softmax_rows(
    long long size, const T* x, T* y, long long logarithm, long long of_block, ROWS) {
    const Rows w = THE_ROWS;
    each_row((INDEX)rows, of_block, [=](INDEX row, INDEX lane, INDEX team) {
        const T* from = x + w.start(row);
        double top = -INFINITY;
        for (INDEX e = lane; e < w.length; e += team) {
            const SUM value = (SUM)from[w.at(e)];
            if (value > top || value != value) top = value;  // NaN stays, as nothing is above it
        }
        top = over_team(top, of_block, Larger());
        const SUM largest = (SUM)top;
        LongSum sum;
        for (INDEX e = lane; e < w.length; e += team) sum.add(exp((SUM)from[w.at(e)] - largest));
        const SUM total = (SUM)sum_over_team(sum.all(), of_block), rest = log(total);
        T* to = y + w.start(row);
        for (INDEX e = lane; e < w.length; e += team) {
            const SUM value = (SUM)from[w.at(e)] - largest;
            to[w.at(e)] = (T)(logarithm ? value - rest : exp(value) / total);
        }
    });
}

// dx = y (grad - the sum of grad y), or of the logarithm grad - exp(y) (the sum of grad).
extern "C" __global__ void softmax_rows_back(
    long long size, const T* grad, const T* y, T* dx, long long logarithm, long long of_block, ROWS) {
    const Rows w = THE_ROWS;
    each_row((INDEX)rows, of_block, [=](INDEX row, INDEX lane, INDEX team) {
        const INDEX start = w.start(row);
        LongSum sum;
        for (INDEX e = lane; e < w.length; e += team) {
            const INDEX at = start + w.at(e);
            sum.add(logarithm ? (SUM)grad[at] : (SUM)grad[at] * (SUM)y[at]);
        }
        const SUM total = (SUM)sum_over_team(sum.all(), of_block);
        for (INDEX e = lane; e < w.length; e += team) {
            const INDEX at = start + w.at(e);
            dx[at] = (T)(logarithm ? (SUM)grad[at] - exp((SUM)y[at]) * total : (SUM)y[at] * ((SUM)grad[at] - total));
        }
    });
}
