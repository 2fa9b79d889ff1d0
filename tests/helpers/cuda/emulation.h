// What CUDA sources need to be compiled by g++: a loop over all threads takes the place of the grid.
// Races, warps, and the hardware's rounding (flushed denormals, fused multiply-add) are not represented.
#include <cmath>
#include <cstdint>
#include <utility>

#define __global__
#define __device__

struct dim3 {
    unsigned x, y, z;
};
static thread_local dim3 gridDim{1, 1, 1}, blockDim{1, 1, 1}, blockIdx{0, 0, 0}, threadIdx{0, 0, 0};

template <class... A, size_t... I>
void run(void (*kernel)(A...), unsigned grid, unsigned block, void** arguments, std::index_sequence<I...>) {
    gridDim.x = grid;
    blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < block; threadIdx.x++) kernel(*(A*)arguments[I]...);
}

// As cuLaunchKernel: `arguments` are pointers to them. Returns -1, or how many there should be.
template <class... A>
int launch(void (*kernel)(A...), unsigned grid, unsigned block, void** arguments, int count) {
    if (count != sizeof...(A)) return sizeof...(A);
    run(kernel, grid, block, arguments, std::index_sequence_for<A...>());
    return -1;
}
