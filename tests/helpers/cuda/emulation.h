// What CUDA sources need to be compiled by g++: a loop over all threads takes the place of the grid.
// Races and the hardware's rounding (flushed denormals, fused multiply-add) are not represented. With THREADS_MEET the
// threads of a block are fibers, each of which runs until it waits for others: in __syncthreads, or a shuffle of its warp.
#include <setjmp.h>
#include <ucontext.h>

// Every kernel's file is compiled with this one: containers, std::function and the special functions of C++17's cmath
// would take most of the time.
#include <cstdint>
#undef _GLIBCXX_USE_STD_SPEC_FUNCS
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

#define __global__
#define __device__
#define __shared__ static thread_local

struct dim3 {
    unsigned x, y, z;
};
static thread_local dim3 gridDim{1, 1, 1}, blockDim{1, 1, 1}, blockIdx{0, 0, 0}, threadIdx{0, 0, 0};

struct Meeting {  // of threads that wait until all are there
    unsigned arrived = 0, times = 0;
};

// Where a thread goes on. Jumps take a tenth of the time of swapcontext, which only starts a thread.
struct Continuation {
    jmp_buf at;
};

struct Fibers {
    static constexpr unsigned MOST = 1024, STACK = 1 << 16;
    Continuation main, places[MOST];
    ucontext_t first;
    char* stacks[MOST];
    bool done[MOST];
    void (*body)(const void*);
    const void* given;  // to the body
    Meeting block, warps[MOST / 32];
    char slots[2][MOST][8];
    ~Fibers() {
        for (char* stack : stacks) free(stack);
    }
};
static thread_local Fibers fibers;

static void start() {
    fibers.body(fibers.given);
    fibers.done[threadIdx.x] = true;
    _longjmp(fibers.main.at, 1);
}

[[maybe_unused]] static void meet(Meeting& meeting, unsigned count) {
    const unsigned thread = threadIdx.x, times = meeting.times;
    if (++meeting.arrived == count) {
        meeting.arrived = 0;
        meeting.times++;
    }
    while (times == meeting.times) {
        if (!_setjmp(fibers.places[thread].at)) _longjmp(fibers.main.at, 1);
        threadIdx.x = thread;
    }
}

#define __syncthreads() meet(fibers.block, blockDim.x)

template <class V>
V __shfl_xor_sync(unsigned, V value, int mask) {
    const unsigned thread = threadIdx.x;
    Meeting& warp = fibers.warps[thread / 32];
    static_assert(sizeof(V) <= 8, "a slot has 8 bytes");
    auto& slots = fibers.slots[warp.times % 2];  // the others may still read those of the shuffle before
    memcpy(slots[thread], &value, sizeof(V));
    meet(warp, 32);
    memcpy(&value, slots[thread ^ mask], sizeof(V));
    return value;
}

// All threads of a block, a turn each until all are done.
[[maybe_unused]] static void run_block(unsigned block, void (*body)(const void*), const void* given) {
    fibers.body = body;
    fibers.given = given;
    for (unsigned i = 0; i < block; i++) {
        fibers.done[i] = false;
        if (!fibers.stacks[i]) fibers.stacks[i] = (char*)malloc(Fibers::STACK);
    }
    volatile bool begun = false, left = true;  // else a jump may bring their earlier values back
    for (; left; begun = true) {
        left = false;
        for (volatile unsigned i = 0; i < block; i++) {
            if (fibers.done[i]) continue;
            threadIdx.x = i;
            if (!_setjmp(fibers.main.at)) {
                if (begun) _longjmp(fibers.places[i].at, 1);
                getcontext(&fibers.first);
                fibers.first.uc_stack.ss_sp = fibers.stacks[i];
                fibers.first.uc_stack.ss_size = Fibers::STACK;
                makecontext(&fibers.first, start, 0);
                setcontext(&fibers.first);
            }
            left = left || !fibers.done[threadIdx.x];
        }
    }
}

template <class... A, size_t... I>
void run(void (*kernel)(A...), unsigned grid, unsigned block, void** arguments, std::index_sequence<I...>) {
    gridDim.x = grid;
    blockDim.x = block;
    for (blockIdx.x = 0; blockIdx.x < grid; blockIdx.x++) {
#ifdef THREADS_MEET
        const auto body = [=] { kernel(*(A*)arguments[I]...); };
        run_block(block, [](const void* given) { (*static_cast<decltype(&body)>(given))(); }, &body);
#else
        for (threadIdx.x = 0; threadIdx.x < block; threadIdx.x++) kernel(*(A*)arguments[I]...);
#endif
    }
}

// As cuLaunchKernel: `arguments` are pointers to them. Returns -1, or how many there should be.
template <class... A>
int launch(void (*kernel)(A...), unsigned grid, unsigned block, void** arguments, int count) {
    if (count != sizeof...(A)) return sizeof...(A);
    run(kernel, grid, block, arguments, std::index_sequence_for<A...>());
    return -1;
}
