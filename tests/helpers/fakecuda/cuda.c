// A simulated CUDA with two devices: memory is the host's, launches are only counted, captures refuse what CUDA refuses.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned u;
typedef size_t z;
typedef void* p;
long fake_launches = 0, fake_allocations = 0, fake_copies = 0, fake_uploads = 0, fake_downloads = 0, fake_fills = 0, fake_syncs = 0;
static long anything = 1, handles = 0x1000;

// --- captures: the first call that a real one would refuse is kept in `fake_why`
static int capturing = 0, invalid = 0, recorded_events = 0;
static p events[1 << 17];
char fake_why[200] = "";

static int refused(const char* what, int code) {
    if (!capturing) return 0;
    if (!invalid) strcpy(fake_why, what);
    invalid = 1;
    return code;
}

// --- the names of the kernels that were launched, while `fake_watching`
int fake_watching = 0, fake_watched = 0;
const char* fake_names[1 << 16];

// --- the first 8 bytes of so many arguments of the latest launch
int fake_looking = 0;
long long fake_arguments[64];

// --- the driver
int cuGetErrorName(int e, const char** s) { *s = "FAKE"; return 0; }
int cuGetErrorString(int e, const char** s) { *s = "fake"; return 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { return 0; }
int cuCtxGetCurrent(p* c) { *c = &anything; return 0; }
int cuCtxSetCurrent(p c) { return 0; }
int cuCtxCreate_v2(p* c, u flags, int d) { *c = &anything; return 0; }
int cuCtxDestroy_v2(p c) { return 0; }
int cuCtxGetDevice(int* d) { *d = 0; return 0; }
int cuModuleLoad(p* m, const char* n) { *m = &anything; return 0; }
int cuModuleLoadData(p* m, const p d) { *m = &anything; return 0; }
int cuModuleUnload(p m) { return 0; }
int cuModuleGetFunction(p* f, p m, const char* name) { *f = strdup(name); return 0; }
int cuModuleGetGlobal_v2(p* a, z* n, p m, const char* name) { *a = &anything; return 0; }
int cuLaunchKernel(p f, u gx, u gy, u gz, u bx, u by, u bz, u shared, p stream, p* arguments, p* extra) {
    if (capturing && invalid) return 901;
    fake_launches++;
    for (int i = 0; i < fake_looking; i++) memcpy(&fake_arguments[i], arguments[i], 8);
    if (fake_watching && fake_watched < 1 << 16) fake_names[fake_watched++] = f;
    return 0;
}
int cuLaunchCooperativeKernel(p f) { fake_launches++; return 0; }
int cuFuncGetAttribute(int* v, int a, p f) { *v = 0; return 0; }
int cuFuncSetAttribute(p f, int a, int v) { return 0; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int* v, p f, int b, z s) { *v = 8; return 0; }
int cuOccupancyMaxPotentialBlockSize(int* a, int* b, p f, p c, z d, int e) { *a = 132; *b = 256; return 0; }
int cuStreamGetCtx(p s, p* c) { *c = &anything; return 0; }
int cuLinkCreate_v2() { return 0; }
int cuLinkAddData_v2() { return 0; }
int cuLinkAddFile_v2() { return 0; }
int cuLinkComplete() { return 0; }
int cuLinkDestroy() { return 0; }

// --- the runtime: the functions that CuPy has inside itself jump here
static int device = 0;
int cudaRuntimeGetVersion(int* v) { *v = 13000; return 0; }
int fake_cudaGetDevice(int* d) { *d = device; return 0; }
int fake_cudaSetDevice(int d) { device = d; return 0; }
int fake_cudaGetDeviceCount(int* n) { *n = 2; return 0; }
int fake_cudaDeviceGetAttribute(int* v, int a, int d) {
    *v = a == 75 ? 9 : a == 1 ? 1024 : a == 16 ? 132 : 0;  // compute capability 9.0, threads, multiprocessors
    return 0;
}
int fake_cudaGetDeviceProperties(char* a, int d) { memset(a, 0, 700); strcpy(a, "fake"); return 0; }
int fake_cudaDriverGetVersion(int* v) { *v = 13000; return 0; }
int fake_cudaRuntimeGetVersion(int* v) { *v = 13000; return 0; }
int fake_cudaGetLastError() { return 0; }
const char* fake_cudaGetErrorName(int e) { return "fake"; }
const char* fake_cudaGetErrorString(int e) { return "fake"; }
int fake_cudaMalloc(p* a, z n) { fake_allocations++; return posix_memalign(a, 512, n ? n : 1); }
int fake_cudaFree(p a) { free(a); return 0; }
int fake_cudaHostAlloc(p* a, z n, u flags) { return posix_memalign(a, 512, n ? n : 1); }
int fake_cudaFreeHost(p a) { free(a); return 0; }
int fake_cudaMemGetInfo(z* a, z* b) { *a = *b = 1ull << 37; return 0; }
static void count(int kind) {
    fake_copies++;
    fake_uploads += kind == 1;
    fake_downloads += kind == 2;
}
int fake_cudaMemcpy(p to, const p from, z n, int kind) {
    if (refused("cudaMemcpy", 900)) return 900;
    count(kind);
    memcpy(to, from, n);
    return 0;
}
int fake_cudaMemcpyAsync(p to, const p from, z n, int kind, p stream) {
    count(kind);
    if (kind == 1 || kind == 2 || n < 65536) memcpy(to, from, n);  // nobody reads what is on the device
    return 0;
}
int fake_cudaMemset(p to, int v, z n) { fake_fills++; return 0; }
int fake_cudaMemsetAsync(p to, int v, z n, p stream) { fake_fills++; return 0; }
int fake_cudaPointerGetAttributes(char* a, const p to) {
    memset(a, 0, 32);
    *(int*)a = 2;
    *(const void**)(a + 8) = to;
    return 0;
}
int fake_cudaDeviceSynchronize() { fake_syncs++; return refused("cudaDeviceSynchronize", 900); }
int fake_cudaStreamSynchronize(p s) { fake_syncs++; return refused("cudaStreamSynchronize", 900); }
int fake_cudaStreamCreate(p* s) { *s = (p)(handles += 16); return 0; }
int fake_cudaStreamCreateWithFlags(p* s, u flags) { *s = (p)(handles += 16); return 0; }
int fake_cudaStreamCreateWithPriority(p* s, u flags, int priority) { *s = (p)(handles += 16); return 0; }
int fake_cudaStreamDestroy(p s) { return 0; }
int fake_cudaStreamQuery(p s) { return 0; }
int fake_cudaStreamGetFlags(p s, u* flags) { *flags = 0; return 0; }
int fake_cudaStreamGetPriority(p s, int* priority) { *priority = 0; return 0; }
int fake_cudaStreamWaitEvent(p s, p e, u flags) { return 0; }
int fake_cudaStreamIsCapturing(p s, int* c) { *c = capturing; return 0; }
int fake_cudaStreamBeginCapture(p s, int mode) { capturing = 1; return 0; }
int fake_cudaStreamEndCapture(p s, p* graph) {
    capturing = 0;
    *graph = &anything;
    if (!invalid) return 0;
    invalid = 0;
    return 901;
}
int fake_cudaEventCreate(p* e) { *e = (p)(handles += 16); return 0; }
int fake_cudaEventCreateWithFlags(p* e, u flags) { *e = (p)(handles += 16); return 0; }
int fake_cudaEventDestroy(p e) { return 0; }
int fake_cudaEventQuery(p e) {
    for (int i = 0; i < recorded_events; i++)
        if (events[i] == e) {
            refused("cudaEventQuery of an event that was recorded in the capture", 907);
            return 907;
        }
    return 0;
}
int fake_cudaEventRecord(p e, p stream) {
    if (capturing && recorded_events < 1 << 17) {
        events[recorded_events++] = e;
        return 0;
    }
    for (int i = recorded_events - 1; i >= 0; i--)
        if (events[i] == e) events[i] = events[--recorded_events];
    return 0;
}
int fake_cudaEventSynchronize(p e) { fake_syncs++; return refused("cudaEventSynchronize", 900); }
int fake_cudaEventElapsedTime(float* t, p a, p b) { *t = 1; return 0; }
int fake_cudaGraphInstantiate(p* e, p graph, unsigned long long flags) { *e = &anything; return 0; }
int fake_cudaGraphDestroy(p graph) { return 0; }
int fake_cudaGraphExecDestroy(p graph) { return 0; }
int fake_cudaGraphLaunch(p graph, p stream) { fake_launches++; return 0; }
int fake_cudaGraphUpload(p graph, p stream) { return 0; }
int fake_cudaDeviceCanAccessPeer(int* can, int a, int b) { *can = 0; return 0; }
int fake_cudaDeviceGetLimit(z* v, int limit) { *v = 0; return 0; }
