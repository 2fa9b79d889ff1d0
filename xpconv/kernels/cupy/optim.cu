// Optimizers: a one-thread kernel moves the step count on and works out the step's coefficients k in float64, then
// one launch updates the flat buffers. Both are on the device, so that a replayed graph counts and sees a new rate.
// s are the group's settings, which begin with lr, weight_decay and the gradient's sign; counters (params, 2) hold
// each parameter's number of steps, and for NAdam the product of its μ. Where `skip` is true, nothing is done.

// One more step for parameter i; its number.
__device__ inline double next_step(double* counters, INDEX i) { return counters[2 * i] += 1; }

// s: betas, eps, decoupled at 3…6. k: what the three kinds of Adam share.
__device__ inline void adam_shared(const double* s, double* k) {
    k[0] = s[6] ? 0 : s[1];  // weight decay that enters the gradient
    k[1] = s[6] ? 1 - s[0] * s[1] : 1;  // that shrinks the parameter
    k[2] = s[2];
    k[3] = s[3];
    k[4] = s[4];
    k[5] = s[5];
}

extern "C" __global__ void prepare_adam(long long size, const double* s, double* counters, double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const double t = next_step(counters, i);
        if (i) continue;
        adam_shared(s, k);
        k[6] = 1 / sqrt(1 - pow(s[4], t));  // of the root
        k[7] = 0;  // of g
        k[8] = s[0] / (1 - pow(s[3], t));  // of m
    }
}

extern "C" __global__ void prepare_nadam(long long size, const double* s, double* counters, double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const double t = next_step(counters, i);
        const double mu = s[3] * (1 - 0.5 * pow(0.96, t * s[7])), after = s[3] * (1 - 0.5 * pow(0.96, (t + 1) * s[7]));
        const double product = counters[2 * i + 1] *= mu;
        if (i) continue;
        adam_shared(s, k);
        k[6] = 1 / sqrt(1 - pow(s[4], t));
        k[7] = s[0] * (1 - mu) / (1 - product);
        k[8] = s[0] * after / (1 - product * after);
    }
}

extern "C" __global__ void prepare_radam(long long size, const double* s, double* counters, double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const double t = next_step(counters, i);
        if (i) continue;
        const double power = pow(s[4], t), longest = 2 / (1 - s[4]) - 1;
        const double length = longest - 2 * t * power / (1 - power);
        adam_shared(s, k);
        k[6] = length <= 5 ? 0 : 1;  // no root at first
        k[7] = 0;
        k[8] = s[0] / (1 - pow(s[3], t));
        if (length > 5)
            k[8] *= sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length) * (1 - power));
    }
}

extern "C" __global__ void adam(long long size, T* p, const T* g, T* m, T* v, T* largest, const double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const SUM grad = (SUM)k[2] * (SUM)g[i] + (SUM)k[0] * (SUM)p[i];
        const SUM mean = (SUM)k[3] * (SUM)m[i] + (SUM)(1 - k[3]) * grad;
        SUM square = (SUM)k[4] * (SUM)v[i] + (SUM)(1 - k[4]) * (grad * grad);
        m[i] = (T)mean;
        v[i] = (T)square;
        if (largest) {
            if ((SUM)largest[i] > square) square = (SUM)largest[i];
            largest[i] = (T)square;
        }
        const SUM step = (SUM)k[7] * grad + (SUM)k[8] * mean;
        const SUM root = k[6] ? sqrt(square) * (SUM)k[6] + (SUM)k[5] : (SUM)1;
        p[i] = (T)((SUM)p[i] * (SUM)k[1] - step / root);
    }
}

// s: momentum, dampening, nesterov at 3…5. Only steps with momentum count, as the first of them starts m.
extern "C" __global__ void prepare_sgd(long long size, const double* s, double* counters, double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const double t = s[3] ? next_step(counters, i) : 0;
        if (i) continue;
        for (int j = 0; j < 6; j++) k[j] = s[j];
        k[6] = t == 1;
    }
}

extern "C" __global__ void sgd(long long size, T* p, const T* g, T* m, const double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        SUM grad = (SUM)k[2] * (SUM)g[i] + (SUM)k[1] * (SUM)p[i];
        if (k[3]) {
            const SUM mean = k[6] ? grad : (SUM)k[3] * (SUM)m[i] + (SUM)(1 - k[4]) * grad;
            m[i] = (T)mean;
            grad = k[5] ? grad + (SUM)k[3] * mean : mean;
        }
        p[i] = (T)((SUM)p[i] - (SUM)k[0] * grad);
    }
}

// k: alpha, eps, momentum, rounding at 3…6.
extern "C" __global__ void rmsprop(long long size, T* p, const T* g, T* v, T* mean, T* momentum, const double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const SUM grad = (SUM)k[2] * (SUM)g[i] + (SUM)k[1] * (SUM)p[i], fresh = (SUM)(1 - k[3]);
        SUM variance = (SUM)k[3] * (SUM)v[i] + fresh * (grad * grad);
        v[i] = (T)variance;
        if (mean) {
            const SUM average = (SUM)mean[i] + fresh * (grad - (SUM)mean[i]);
            mean[i] = (T)average;
            variance -= average * average;
            const SUM least = (SUM)k[6] * (SUM)v[i];  // what rounding leaves
            if (variance < least) variance = least;
        }
        SUM step = grad / (sqrt(variance) + (SUM)k[4]);
        if (momentum) {
            step += (SUM)k[5] * (SUM)momentum[i];
            momentum[i] = (T)step;
        }
        p[i] = (T)((SUM)p[i] - (SUM)k[0] * step);
    }
}

// s: lr_decay, eps at 3, 4.
extern "C" __global__ void prepare_adagrad(long long size, const double* s, double* counters, double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const double t = next_step(counters, i);
        if (i) continue;
        k[0] = s[0] / (1 + (t - 1) * s[3]);
        k[1] = s[1];
        k[2] = s[2];
        k[3] = s[4];
    }
}

extern "C" __global__ void adagrad(long long size, T* p, const T* g, T* v, const double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const SUM grad = (SUM)k[2] * (SUM)g[i] + (SUM)k[1] * (SUM)p[i];
        const SUM square = (SUM)v[i] + grad * grad;
        v[i] = (T)square;
        p[i] = (T)((SUM)p[i] - (SUM)k[0] * grad / (sqrt(square) + (SUM)k[3]));
    }
}

// k: betas at 3, 4.
extern "C" __global__ void lion(long long size, T* p, const T* g, T* m, const double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const SUM grad = (SUM)k[2] * (SUM)g[i], mean = (SUM)m[i];
        const SUM direction = (SUM)k[3] * mean + (SUM)(1 - k[3]) * grad;
        const SUM sign = direction > 0 ? 1 : direction < 0 ? -1 : direction;  // NaN stays
        p[i] = (T)((SUM)p[i] * (SUM)(1 - k[0] * k[1]) - (SUM)k[0] * sign);
        m[i] = (T)((SUM)k[4] * mean + (SUM)(1 - k[4]) * grad);
    }
}

// k: rho, eps at 3, 4.
extern "C" __global__ void adadelta(long long size, T* p, const T* g, T* v, T* d, const double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const SUM grad = (SUM)k[2] * (SUM)g[i] + (SUM)k[1] * (SUM)p[i], fresh = (SUM)(1 - k[3]);
        const SUM square = (SUM)k[3] * (SUM)v[i] + fresh * (grad * grad), past = (SUM)d[i];
        const SUM step = sqrt(past + (SUM)k[4]) / sqrt(square + (SUM)k[4]) * grad;
        v[i] = (T)square;
        d[i] = (T)((SUM)k[3] * past + fresh * (step * step));
        p[i] = (T)((SUM)p[i] - (SUM)k[0] * step);
    }
}

// s: betas, eps at 3…5.
extern "C" __global__ void prepare_adamax(long long size, const double* s, double* counters, double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const double t = next_step(counters, i);
        if (i) continue;
        for (int j = 0; j < 6; j++) k[j] = s[j];
        k[0] = s[0] / (1 - pow(s[3], t));
    }
}

extern "C" __global__ void adamax(long long size, T* p, const T* g, T* m, T* u, const double* k, const bool* skip) {
    if (skip && *skip) return;
    FOR_EACH(i, size) {
        const SUM grad = (SUM)k[2] * (SUM)g[i] + (SUM)k[1] * (SUM)p[i];
        const SUM mean = (SUM)k[3] * (SUM)m[i] + (SUM)(1 - k[3]) * grad;
        const SUM fresh = (grad < 0 ? -grad : grad) + (SUM)k[5], past = (SUM)k[4] * (SUM)u[i];
        const SUM largest = past > fresh ? past : fresh;
        m[i] = (T)mean;
        u[i] = (T)largest;
        p[i] = (T)((SUM)p[i] - (SUM)k[0] * mean / largest);
    }
}

// Arrays to copy, and where to. Number t has the elements up to `end[t]`.
struct Table {
    const T* from[160];
    SUM* to[160];
    long long end[160];
};

// A thread finds, for each of its elements, the array that holds it, and copies the element.
extern "C" __global__ void gather(long long size, const Table table, long long count) {
    for (long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x; i < size; i += (long long)gridDim.x * blockDim.x) {
        int first = 0, last = (int)count - 1;  // the array is one of these
        while (first < last) {
            const int middle = (first + last) / 2;
            if (i < table.end[middle]) last = middle;
            else first = middle + 1;
        }
        const long long at = first ? i - table.end[first - 1] : i;
        table.to[first][at] = (SUM)table.from[first][at];
    }
}
