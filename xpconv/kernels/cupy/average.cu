// Running averages of up to 16 arrays; unused pairs of the 16 have no elements.

#define PAIR(k) SUM *average##k, const T *value##k, long long end##k

// average += share * (value - average). The elements of all pairs are numbered in sequence; pair k ends before `end k`.
extern "C" __global__ void follow_all(
    long long size, double share, PAIR(0), PAIR(1), PAIR(2), PAIR(3), PAIR(4), PAIR(5), PAIR(6), PAIR(7), PAIR(8),
    PAIR(9), PAIR(10), PAIR(11), PAIR(12), PAIR(13), PAIR(14), PAIR(15)) {
    SUM* const averages[] = {average0, average1, average2,  average3,  average4,  average5,  average6,  average7,
                             average8, average9, average10, average11, average12, average13, average14, average15};
    const T* const values[] = {value0, value1, value2,  value3,  value4,  value5,  value6,  value7,
                               value8, value9, value10, value11, value12, value13, value14, value15};
    const long long ends[] = {end0, end1, end2,  end3,  end4,  end5,  end6,  end7,
                              end8, end9, end10, end11, end12, end13, end14, end15};
    FOR_EACH(i, size) {
        int k = 0;
        while (i >= ends[k]) k++;
        const INDEX j = i - (k ? (INDEX)ends[k - 1] : 0);
        const SUM average = averages[k][j];
        averages[k][j] = average + (SUM)share * ((SUM)values[k][j] - average);
    }
}
