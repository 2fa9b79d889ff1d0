// Softmax cross-entropy over the middle axis of x (outer, C, inner). `parts` threads share a row, each with every
// parts-th class; the next kernel puts their results together.

// Adds few numbers at a time, and these sums in double, as a float that adds many numbers loses digits.
struct Total {
    double sum = 0;
    SUM few = 0;
    int count = 0;
    __device__ void add(SUM value) {
        few += value;
        if (++count == 256) {
            sum += few;
            few = 0;
            count = 0;
        }
    }
    __device__ SUM all() const { return (SUM)(sum + few); }
};

// rows[i] is 1 at the target's class, else 0; all 0 where the target is `ignored`, NaN where it is no class.
extern "C" __global__ void one_hot(
    long long size, T* rows, const long long* target, bool* counted, long long classes, long long inner,
    long long ignored) {
    FOR_EACH(i, size) {
        const INDEX c = i / (INDEX)inner % (INDEX)classes;
        const INDEX row = i / (INDEX)inner / (INDEX)classes * (INDEX)inner + i % (INDEX)inner;
        const long long wanted = target[row];
        if (c == 0) counted[row] = wanted != ignored;
        const bool known = wanted >= 0 && wanted < classes;
        rows[i] = (T)(SUM)(wanted == ignored ? 0 : known ? wanted == c : NAN);
    }
}

// found (2, outer, parts, inner): the largest x, and the sum of exp(x - largest).
extern "C" __global__ void exp_sums(
    long long size, const T* x, SUM* found, long long classes, long long inner, long long parts) {
    FOR_EACH(i, size) {
        const INDEX in = i % (INDEX)inner, part = i / (INDEX)inner % (INDEX)parts;
        const T* row = x + i / (INDEX)inner / (INDEX)parts * (INDEX)classes * (INDEX)inner + in;
        SUM largest = -INFINITY;
        Total sum;
        for (INDEX c = part; c < classes; c += parts) {
            const SUM value = (SUM)row[c * (INDEX)inner];
            if (value > largest) largest = value;
        }
        for (INDEX c = part; c < classes; c += parts) {
            const SUM value = (SUM)row[c * (INDEX)inner];
            if (value > -INFINITY || value != value) sum.add(exp(value - largest));
        }
        found[i] = largest;
        found[i + (INDEX)size] = sum.all();
    }
}

// p = softmax(x), and sums (2, outer, parts, inner): of -t log p (0 where t is 0), and of t.
extern "C" __global__ void cross_entropy(
    long long size, const T* x, const T* t, T* p, const SUM* found, SUM* sums, long long classes, long long inner,
    long long parts) {
    FOR_EACH(i, size) {
        const INDEX in = i % (INDEX)inner, part = i / (INDEX)inner % (INDEX)parts;
        const INDEX outer = i / (INDEX)inner / (INDEX)parts;
        const SUM* others = found + outer * (INDEX)parts * (INDEX)inner + in;
        SUM largest = -INFINITY;
        Total sum, loss, total;
        for (INDEX k = 0; k < parts; k++)
            if (others[k * (INDEX)inner] > largest) largest = others[k * (INDEX)inner];
        for (INDEX k = 0; k < parts; k++)
            sum.add(others[k * (INDEX)inner + (INDEX)size] * exp(others[k * (INDEX)inner] - largest));
        const SUM rest = log(sum.all());
        for (INDEX c = part; c < classes; c += parts) {
            const INDEX at = (outer * (INDEX)classes + c) * (INDEX)inner + in;
            const SUM log_p = (SUM)x[at] - largest - rest, target = (SUM)t[at];
            p[at] = (T)exp(log_p);
            total.add(target);
            if (target != 0) loss.add(-target * log_p);
        }
        sums[i] = loss.all();
        sums[i + (INDEX)size] = total.all();
    }
}

// dx = (p Σt - t) scale; scale is one number, or one for each (outer, inner).
extern "C" __global__ void cross_entropy_back(
    long long size, const T* p, const T* t, const SUM* total, const SUM* scale, T* dx, long long classes,
    long long inner, long long each) {
    FOR_EACH(i, size) {
        const INDEX row = i / (INDEX)inner / (INDEX)classes * (INDEX)inner + i % (INDEX)inner;
        dx[i] = (T)(((SUM)p[i] * total[row] - (SUM)t[i]) * scale[each ? row : 0]);
    }
}

// For classes by number, a thread a row: p, a copy of the targets, and found (2, rows): each row's loss, and 1 if it counts.
extern "C" __global__ void class_entropy(
    long long size, const T* x, const long long* target, SUM* p, long long* copy, double* found, long long classes,
    long long inner, long long ignored) {
    FOR_EACH(i, size) {
        const INDEX first = i / (INDEX)inner * (INDEX)classes * (INDEX)inner + i % (INDEX)inner;
        SUM largest = -INFINITY;
        Total sum;
        for (INDEX c = 0; c < classes; c++) {
            const SUM value = (SUM)x[first + c * (INDEX)inner];
            if (value > largest) largest = value;
        }
        for (INDEX c = 0; c < classes; c++) {
            const SUM value = (SUM)x[first + c * (INDEX)inner];
            if (value > -INFINITY || value != value) sum.add(exp(value - largest));
        }
        const SUM rest = log(sum.all());
        for (INDEX c = 0; c < classes; c++)
            p[first + c * (INDEX)inner] = exp((SUM)x[first + c * (INDEX)inner] - largest - rest);
        const long long t = target[i];
        const bool counts = t != ignored, known = t >= 0 && t < classes;
        copy[i] = t;
        found[i] = 0;
        if (counts) found[i] = known ? (double)(rest - ((SUM)x[first + (INDEX)t * (INDEX)inner] - largest)) : (double)NAN;
        found[i + (INDEX)size] = counts;
    }
}

// From the sums in (2, parts): the loss, the factor of its gradient, which is 1 / count for a mean, else 1, and count.
extern "C" __global__ void reduce_entropy(
    long long size, const double* in, T* loss, double* scale, SUM* number, long long parts,
    long long mean) {
    FOR_EACH(i, size) {
        double sum = 0, count = 0;
        for (INDEX k = 0; k < parts; k++) sum += in[k], count += in[k + (INDEX)parts];
        *number = (SUM)count;
        *scale = !mean ? 1 : count > 0 ? 1 / count : (double)NAN;
        *loss = (T)(SUM)(sum * *scale);
    }
}

// dx = (p - [c is the target]) scale; 0 where the row does not count.
extern "C" __global__ void class_entropy_back(
    long long size, T* dx, const SUM* p, const long long* target, const double* scale, const SUM* grad, double same,
    long long classes, long long inner, long long ignored) {
    FOR_EACH(i, size) {
        const INDEX c = i / (INDEX)inner % (INDEX)classes;
        const INDEX row = i / (INDEX)inner / (INDEX)classes * (INDEX)inner + i % (INDEX)inner;
        const long long t = target[row];
        const bool known = t >= 0 && t < classes;
        const SUM factor = (SUM)(*scale * (grad ? (double)*grad : same));
        dx[i] = t == ignored ? (T)0 : (T)(known ? (p[i] - (SUM)(t == c)) * factor : (SUM)NAN);
    }
}
